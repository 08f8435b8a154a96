#include "worker/trainer/model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "worker/trainer/permutation.h"
#include "worker/trainer/require.h"

namespace lockstep::trainer {
namespace {

constexpr size_t kEvaluationBatch = 512;

template <typename T>
void RequireShapes(const std::vector<TensorSpec>& tensors, absl::Span<const absl::Span<T>> given) {
  Require(given.size() == tensors.size(), "wrong number of tensors for this model");
  for (size_t i = 0; i < tensors.size(); ++i) {
    Require(given[i].size() == tensors[i].elements(), "a tensor has the wrong number of elements");
  }
}

// Uniform in [-1, 1): the upper 24 bits, which fp32 holds exactly.
float UniformFromBits(uint64_t bits) { return static_cast<float>(bits >> 40) * 0x1p-23f - 1.0f; }

void FillUniform(uint64_t key, float bound, absl::Span<float> values) {
  for (size_t i = 0; i < values.size(); ++i) values[i] = bound * UniformFromBits(Mix64(key + i));
}

}  // namespace

size_t TensorSpec::elements() const {
  size_t product = 1;
  for (int64_t dimension : shape) product *= static_cast<size_t>(dimension);
  return product;
}

Model::Model(size_t features, size_t classes, std::vector<TensorSpec> tensors)
    : features_(features), classes_(classes), tensors_(std::move(tensors)) {
  Require(features > 0, "a model needs at least one feature");
  Require(classes > 0, "a model needs at least one class");
}

void Model::Initialize(uint64_t seed, Tensors parameters) const {
  RequireShapes(tensors_, parameters);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const int64_t inputs = tensors_[i - i % 2].shape[1];  // A bias follows its weight.
    const float bound = 1.0f / std::sqrt(static_cast<float>(inputs));
    FillUniform(Mix64(Mix64(seed) ^ i), bound, parameters[i]);
  }
}

BatchResult Model::Loss(ConstTensors parameters, absl::Span<const float> x, absl::Span<const int32_t> labels) {
  RequireShapes(tensors_, parameters);
  Require(x.size() == labels.size() * features_, "x is not [labels, features]");
  logits_.resize(labels.size() * classes_);
  Forward(parameters, labels.size(), x.data(), logits_.data());
  return SoftmaxCrossEntropy(classes_, labels, absl::MakeSpan(logits_));
}

BatchResult Model::LossAndGradient(ConstTensors parameters, absl::Span<const float> x, absl::Span<const int32_t> labels,
                                   Tensors gradients) {
  RequireShapes(tensors_, gradients);
  const BatchResult result = Loss(parameters, x, labels);
  Backward(parameters, labels.size(), x.data(), logits_.data(), gradients);
  return result;
}

Evaluation Model::Evaluate(ConstTensors parameters, const Split& split) {
  Require(split.features == features_, "the data set has another number of features");
  Evaluation total;
  for (size_t begin = 0; begin < split.samples; begin += kEvaluationBatch) {
    const size_t count = std::min(kEvaluationBatch, split.samples - begin);
    const auto x = absl::MakeConstSpan(split.x).subspan(begin * features_, count * features_);
    const auto labels = absl::MakeConstSpan(split.labels).subspan(begin, count);
    const BatchResult part = Loss(parameters, x, labels);
    total.loss += part.loss * static_cast<double>(count);
    total.accuracy += static_cast<double>(part.correct);
  }
  const double samples = static_cast<double>(std::max<size_t>(split.samples, 1));
  return {.loss = total.loss / samples, .accuracy = total.accuracy / samples};
}

}  // namespace lockstep::trainer
