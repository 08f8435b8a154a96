#include "worker/trainer/softmax.h"

namespace lockstep::trainer {
namespace {

std::vector<TensorSpec> Specs(int64_t features, int64_t classes) {
  return {{"linear.weight", {classes, features}}, {"linear.bias", {classes}}};
}

}  // namespace

SoftmaxRegression::SoftmaxRegression(size_t features, size_t classes)
    : Model(features, classes, Specs(features, classes)) {}

DenseSize SoftmaxRegression::Size(size_t batch) const {
  return {.batch = batch, .inputs = features(), .outputs = classes()};
}

void SoftmaxRegression::Forward(ConstTensors parameters, size_t batch, const float* x, float* logits) {
  DenseForward(Size(batch), x, parameters[0].data(), parameters[1].data(), logits);
}

void SoftmaxRegression::Backward(ConstTensors /*parameters*/, size_t batch, const float* x,
                                 const float* logits_gradient, Tensors gradients) {
  DenseParameterGradient(Size(batch), x, logits_gradient, gradients[0].data(), gradients[1].data());
}

}  // namespace lockstep::trainer
