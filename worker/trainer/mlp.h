// A perceptron with one hidden layer:
//   hidden = relu(x * hidden.weight^T + hidden.bias),   logits = hidden * output.weight^T + output.bias
#ifndef WORKER_TRAINER_MLP_H_
#define WORKER_TRAINER_MLP_H_

#include <vector>

#include "worker/trainer/blas.h"
#include "worker/trainer/model.h"

namespace lockstep::trainer {

// Tensors: "hidden.weight" [hidden, features], "hidden.bias" [hidden],
//          "output.weight" [classes, hidden],  "output.bias" [classes].
// Thread-safety: see Model.
class Mlp final : public Model {
 public:
  Mlp(size_t features, size_t hidden, size_t classes);

 private:
  void Forward(ConstTensors parameters, size_t batch, const float* x, float* logits) override;
  void Backward(ConstTensors parameters, size_t batch, const float* x, const float* logits_gradient,
                Tensors gradients) override;
  DenseSize HiddenSize(size_t batch) const;
  DenseSize OutputSize(size_t batch) const;

  const size_t hidden_;
  std::vector<float> activation_;           // [batch, hidden] of the last Forward, after the ReLU.
  std::vector<float> activation_gradient_;  // [batch, hidden].
};

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_MLP_H_
