// Labelled samples in memory.
#ifndef WORKER_TRAINER_SPLIT_H_
#define WORKER_TRAINER_SPLIT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace lockstep::trainer {

// Owns its samples. Invariants: x.size() == samples x features, labels.size() == samples.
// Thread-safety: a value; may be read from many threads.
struct Split {
  size_t samples = 0;
  size_t features = 0;
  std::vector<float> x;         // [samples, features], row-major, scaled to [0, 1].
  std::vector<int32_t> labels;  // [samples], each in 0..classes-1.
};

// Copies the samples at `indices` (each below split.samples, or the process aborts), in that order,
// into x [indices.size(), features] and labels, which are resized: reuse them from round to round.
void Gather(const Split& split, absl::Span<const uint32_t> indices, std::vector<float>& x,
            std::vector<int32_t>& labels);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_SPLIT_H_
