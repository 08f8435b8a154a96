#include "server/compute/optimizer.h"

#include <algorithm>
#include <cmath>

#include "server/compute/optimizer_kernels.h"
#include "server/compute/plain_math.h"
#include "server/compute/require.h"

namespace lockstep::compute {
namespace {

using internal::Require;

bool IsAdam(OptimizerKind kind) { return kind == OptimizerKind::kAdam || kind == OptimizerKind::kAdamW; }

void SetAdamConstants(const OptimizerOptions& options, double lr, uint64_t version, OptimizerStep& step) {
  const double correction1 = 1 - internal::Power(options.beta1, version);
  const double correction2 = 1 - internal::Power(options.beta2, version);
  step.step_size = static_cast<float>(lr / correction1);
  step.root_of_correction = static_cast<float>(std::sqrt(correction2));
  step.beta1 = static_cast<float>(options.beta1);
  step.one_minus_beta1 = static_cast<float>(1 - options.beta1);
  step.beta2 = static_cast<float>(options.beta2);
  step.one_minus_beta2 = static_cast<float>(1 - options.beta2);
}

void RequireState(const OptimizerStep& step, size_t slots) {
  Require(slots == static_cast<size_t>(StateSlots(step.kind)), "the number of state slots isn't that of the optimizer");
}

}  // namespace

OptimizerStep MakeStep(const OptimizerOptions& options, double lr, uint64_t version) {
  Require(version >= 1, "the first version that a step makes is 1");
  OptimizerStep step;
  step.kind = options.kind;
  step.step_size = static_cast<float>(lr);
  step.momentum = static_cast<float>(options.momentum);
  step.epsilon = static_cast<float>(options.epsilon);
  if (options.kind == OptimizerKind::kAdamW) {
    step.keep = static_cast<float>(1 - lr * options.weight_decay);
  } else {
    step.weight_decay = static_cast<float>(options.weight_decay);
  }
  if (IsAdam(options.kind)) {
    SetAdamConstants(options, lr, version, step);
  }
  return step;
}

void Publish(const OptimizerStep& step, absl::Span<const float> params, absl::Span<const float* const> state,
             absl::Span<float> gradient, absl::Span<float> params_out) {
  Require(gradient.size() == params_out.size(), "gradient and published block differ in size");
  RequireState(step, state.size());
  if (step.kind == OptimizerKind::kAggregate) {
    std::copy(gradient.begin(), gradient.end(), params_out.begin());
    return;
  }
  Require(params.size() == params_out.size(), "old and new parameters differ in size");
  internal::PublishBlock(step, {.params = params.data(),
                                .state = state.data(),
                                .gradient = gradient.data(),
                                .params_out = params_out.data(),
                                .size = gradient.size()});
}

void Fold(const OptimizerStep& step, absl::Span<const float> gradient, absl::Span<float* const> state) {
  RequireState(step, state.size());
  if (!state.empty()) {
    internal::FoldBlock(step, {.gradient = gradient.data(), .state = state.data(), .size = gradient.size()});
  }
}

}  // namespace lockstep::compute
