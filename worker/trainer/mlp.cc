#include "worker/trainer/mlp.h"

#include "worker/trainer/require.h"

namespace lockstep::trainer {
namespace {

enum : size_t { kHiddenWeight, kHiddenBias, kOutputWeight, kOutputBias };

std::vector<TensorSpec> Specs(int64_t features, int64_t hidden, int64_t classes) {
  return {{"hidden.weight", {hidden, features}},
          {"hidden.bias", {hidden}},
          {"output.weight", {classes, hidden}},
          {"output.bias", {classes}}};
}

// Not std::max, which would turn a NaN into 0 and hide a model that diverged.
void Relu(std::vector<float>& values) {
  for (float& value : values) value = value < 0.0f ? 0.0f : value;
}

}  // namespace

Mlp::Mlp(size_t features, size_t hidden, size_t classes)
    : Model(features, classes, Specs(features, hidden, classes)), hidden_(hidden) {
  Require(hidden > 0, "a perceptron needs at least one hidden unit");
}

DenseSize Mlp::HiddenSize(size_t batch) const { return {.batch = batch, .inputs = features(), .outputs = hidden_}; }

DenseSize Mlp::OutputSize(size_t batch) const { return {.batch = batch, .inputs = hidden_, .outputs = classes()}; }

void Mlp::Forward(ConstTensors parameters, size_t batch, const float* x, float* logits) {
  activation_.resize(batch * hidden_);
  DenseForward(HiddenSize(batch), x, parameters[kHiddenWeight].data(), parameters[kHiddenBias].data(),
               activation_.data());
  Relu(activation_);
  DenseForward(OutputSize(batch), activation_.data(), parameters[kOutputWeight].data(), parameters[kOutputBias].data(),
               logits);
}

void Mlp::Backward(ConstTensors parameters, size_t batch, const float* x, const float* logits_gradient,
                   Tensors gradients) {
  DenseParameterGradient(OutputSize(batch), activation_.data(), logits_gradient, gradients[kOutputWeight].data(),
                         gradients[kOutputBias].data());
  activation_gradient_.resize(batch * hidden_);
  DenseInputGradient(OutputSize(batch), logits_gradient, parameters[kOutputWeight].data(), activation_gradient_.data());
  for (size_t i = 0; i < activation_.size(); ++i) {
    if (activation_[i] == 0.0f) activation_gradient_[i] = 0.0f;
  }
  DenseParameterGradient(HiddenSize(batch), x, activation_gradient_.data(), gradients[kHiddenWeight].data(),
                         gradients[kHiddenBias].data());
}

}  // namespace lockstep::trainer
