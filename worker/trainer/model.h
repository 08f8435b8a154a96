// What a model is to the trainer: a list of named tensors, and a gradient for a batch.
//
// The model owns no parameters: they live in the caller's memory (the client's buffers), one span
// per tensor in the order of tensors(), and are passed to each call. Gradients likewise.
//
//   std::unique_ptr<Model> model = *MakeModel("mlp", {.features = 784, .classes = 10});
//   model->Initialize(seed, parameters);
//   BatchResult result = model->LossAndGradient(parameters, x, labels, gradients);
//
// Calls with spans of the wrong number or size abort: that is a bug of the caller.
//
// Thread-safety: not thread-safe, since a model keeps scratch memory between calls. Use one model
// per thread; parameters may be shared among them while nobody writes.
#ifndef WORKER_TRAINER_MODEL_H_
#define WORKER_TRAINER_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "worker/trainer/loss.h"
#include "worker/trainer/split.h"

namespace lockstep::trainer {

struct TensorSpec {
  std::string name;            // Such as "hidden.weight"; unique within the model.
  std::vector<int64_t> shape;  // Row-major; fp32.

  size_t elements() const;
};

// One span per tensor, in the order of Model::tensors().
using ConstTensors = absl::Span<const absl::Span<const float>>;
using Tensors = absl::Span<const absl::Span<float>>;

struct Evaluation {
  double loss = 0;      // Mean over the split.
  double accuracy = 0;  // 0..1.
};

class Model {
 public:
  virtual ~Model() = default;

  // Names, shapes and order never change during a model's life, and are the same in every process
  // that makes the model with the same options.
  const std::vector<TensorSpec>& tensors() const { return tensors_; }
  size_t features() const { return features_; }
  size_t classes() const { return classes_; }

  // Writes the starting parameters: a pure function of (seed, tensor's place, element's place), so
  // that every process gets the same bits. The distribution is that of PyTorch's nn.Linear: uniform
  // in [-1/sqrt(inputs), 1/sqrt(inputs)) for weight and bias.
  void Initialize(uint64_t seed, Tensors parameters) const;

  // Mean loss over the batch, and its gradient, which overwrites `gradients`.
  // x: [labels.size(), features], row-major. An empty batch gives loss 0 and gradients of zero.
  BatchResult LossAndGradient(ConstTensors parameters, absl::Span<const float> x, absl::Span<const int32_t> labels,
                              Tensors gradients);

  // Loss and accuracy over the whole split, which may be large: memory use is that of a small batch.
  Evaluation Evaluate(ConstTensors parameters, const Split& split);

 protected:
  // tensors come in pairs: weight [outputs, inputs], then bias [outputs].
  Model(size_t features, size_t classes, std::vector<TensorSpec> tensors);

  // logits[batch, classes] for x[batch, features]. May keep activations for the next Backward.
  virtual void Forward(ConstTensors parameters, size_t batch, const float* x, float* logits) = 0;

  // All gradients, given the gradient of the loss with respect to the logits of the last Forward.
  virtual void Backward(ConstTensors parameters, size_t batch, const float* x, const float* logits_gradient,
                        Tensors gradients) = 0;

 private:
  // Forward over the batch into logits_, then the loss; logits_ then holds the loss's gradient.
  BatchResult Loss(ConstTensors parameters, absl::Span<const float> x, absl::Span<const int32_t> labels);

  const size_t features_;
  const size_t classes_;
  const std::vector<TensorSpec> tensors_;
  std::vector<float> logits_;
};

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_MODEL_H_
