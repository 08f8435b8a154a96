#include "worker/trainer/split.h"

#include <algorithm>

#include "worker/trainer/require.h"

namespace lockstep::trainer {

void Gather(const Split& split, absl::Span<const uint32_t> indices, std::vector<float>& x,
            std::vector<int32_t>& labels) {
  x.resize(indices.size() * split.features);
  labels.resize(indices.size());
  for (size_t i = 0; i < indices.size(); ++i) {
    Require(indices[i] < split.samples, "a sample index is past the end of the data set");
    std::copy_n(split.x.data() + indices[i] * split.features, split.features, x.data() + i * split.features);
    labels[i] = split.labels[indices[i]];
  }
}

}  // namespace lockstep::trainer
