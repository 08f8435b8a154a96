// Softmax regression: logits = x * weight^T + bias. Convex, so that it always trains; the smallest
// model that is of use.
#ifndef WORKER_TRAINER_SOFTMAX_H_
#define WORKER_TRAINER_SOFTMAX_H_

#include "worker/trainer/blas.h"
#include "worker/trainer/model.h"

namespace lockstep::trainer {

// Tensors: "linear.weight" [classes, features], "linear.bias" [classes].
// Thread-safety: see Model.
class SoftmaxRegression final : public Model {
 public:
  SoftmaxRegression(size_t features, size_t classes);

 private:
  void Forward(ConstTensors parameters, size_t batch, const float* x, float* logits) override;
  void Backward(ConstTensors parameters, size_t batch, const float* x, const float* logits_gradient,
                Tensors gradients) override;
  DenseSize Size(size_t batch) const;
};

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_SOFTMAX_H_
