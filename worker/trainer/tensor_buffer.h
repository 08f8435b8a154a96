// The memory of one set of a model's tensors: parameters, or gradients.
#ifndef WORKER_TRAINER_TENSOR_BUFFER_H_
#define WORKER_TRAINER_TENSOR_BUFFER_H_

#include <vector>

#include "worker/trainer/model.h"

namespace lockstep::trainer {

// Owns its values, which start as zeros and never move. Thread-safety: none of its own.
class TensorBuffer {
 public:
  explicit TensorBuffer(const Model& model);
  TensorBuffer(const TensorBuffer&) = delete;
  TensorBuffer& operator=(const TensorBuffer&) = delete;

  // One span per tensor, in the order of Model::tensors().
  Tensors write() const { return spans_; }
  ConstTensors read() const { return const_spans_; }

  // All tensors, one after another.
  absl::Span<float> values() { return absl::MakeSpan(values_); }

 private:
  std::vector<float> values_;
  std::vector<absl::Span<float>> spans_;
  std::vector<absl::Span<const float>> const_spans_;
};

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_TENSOR_BUFFER_H_
