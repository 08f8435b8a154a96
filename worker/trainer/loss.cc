#include "worker/trainer/loss.h"

#include <algorithm>
#include <cmath>

#include "worker/trainer/require.h"

namespace lockstep::trainer {
namespace {

// Turns one row of logits into the gradient of its loss times `scale`; returns the loss.
double RowLoss(absl::Span<float> row, size_t label, float scale) {
  const float largest = *std::max_element(row.begin(), row.end());
  const double label_logit = row[label] - largest;
  float sum = 0;
  for (float& z : row) {
    z = std::exp(z - largest);  // At most 1, so that nothing overflows.
    sum += z;
  }
  for (float& z : row) z = z / sum * scale;
  row[label] -= scale;
  return std::log(static_cast<double>(sum)) - label_logit;
}

}  // namespace

BatchResult SoftmaxCrossEntropy(size_t classes, absl::Span<const int32_t> labels, absl::Span<float> logits) {
  Require(logits.size() == labels.size() * classes, "logits are not [labels, classes]");
  BatchResult result;
  if (labels.empty()) return result;
  const float scale = 1.0f / static_cast<float>(labels.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    const size_t label = static_cast<size_t>(labels[i]);
    Require(label < classes, "a label is not below the number of classes");
    absl::Span<float> row = logits.subspan(i * classes, classes);
    const auto best = std::max_element(row.begin(), row.end());
    result.correct += static_cast<size_t>(best - row.begin()) == label;
    result.loss += RowLoss(row, label, scale);
  }
  result.loss /= static_cast<double>(labels.size());
  return result;
}

}  // namespace lockstep::trainer
