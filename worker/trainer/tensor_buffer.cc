#include "worker/trainer/tensor_buffer.h"

namespace lockstep::trainer {

TensorBuffer::TensorBuffer(const Model& model) {
  size_t total = 0;
  for (const TensorSpec& tensor : model.tensors()) total += tensor.elements();
  values_.resize(total);
  float* next = values_.data();
  for (const TensorSpec& tensor : model.tensors()) {
    spans_.emplace_back(next, tensor.elements());
    const_spans_.emplace_back(next, tensor.elements());
    next += tensor.elements();
  }
}

}  // namespace lockstep::trainer
