#ifndef LOCKSTEP_TESTS_SERVER_COMPUTE_OPTIMIZER_ORACLE_H_
#define LOCKSTEP_TESTS_SERVER_COMPUTE_OPTIMIZER_ORACLE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/compute/optimizer_options.h"

namespace lockstep::compute {

// The optimizers the slow and obvious way: one element after the other, everything in place, each
// operation on its own line of the textbook.
class OptimizerOracle {
 public:
  OptimizerOracle(const OptimizerOptions& options, std::vector<float> initial)
      : options_(options), params(initial), first(initial.size()), second(initial.size()) {}

  void Step(double lr, const std::vector<float>& gradient) {
    ++version_;
    for (size_t i = 0; i < params.size(); ++i) {
      StepElement(lr, gradient[i], params[i], first[i], second[i]);
    }
  }

 private:
  void StepElement(double lr, float g, float& p, float& a, float& b) const {
    const float decay = static_cast<float>(options_.weight_decay);
    const float rate = static_cast<float>(lr);
    const float momentum = static_cast<float>(options_.momentum);
    const float epsilon = static_cast<float>(options_.epsilon);
    if (options_.kind != OptimizerKind::kAdamW && decay != 0) {
      g = g + decay * p;
    }
    switch (options_.kind) {
      case OptimizerKind::kAggregate:
        p = g;
        return;
      case OptimizerKind::kSgd:
        p = p - rate * g;
        return;
      case OptimizerKind::kMomentum:
        a = momentum * a + g;
        p = p - rate * a;
        return;
      case OptimizerKind::kNesterov:
        a = momentum * a + g;
        p = p - rate * (g + momentum * a);
        return;
      case OptimizerKind::kAdamW:
        p = p * static_cast<float>(1 - lr * options_.weight_decay);
        [[fallthrough]];
      case OptimizerKind::kAdam:
        StepAdam(lr, g, p, a, b);
        return;
      case OptimizerKind::kAdagrad:
        a = a + g * g;
        p = p - rate * g / (std::sqrt(a) + epsilon);
        return;
    }
  }

  void StepAdam(double lr, float g, float& p, float& a, float& b) const {
    const float beta1 = static_cast<float>(options_.beta1);
    const float beta2 = static_cast<float>(options_.beta2);
    a = beta1 * a + static_cast<float>(1 - options_.beta1) * g;
    b = beta2 * b + static_cast<float>(1 - options_.beta2) * g * g;
    const float step_size = static_cast<float>(lr / (1 - Power(options_.beta1)));
    const float correction = static_cast<float>(std::sqrt(1 - Power(options_.beta2)));
    p = p - step_size * a / (std::sqrt(b) / correction + static_cast<float>(options_.epsilon));
  }

  // base^version, lowest binary digit first: another order would round differently, so it is part
  // of what is specified.
  double Power(double base) const {
    double power = 1;
    for (uint64_t digits = version_; digits > 0; digits /= 2, base = base * base) {
      power = digits % 2 == 1 ? power * base : power;
    }
    return power;
  }

  OptimizerOptions options_;
  uint64_t version_ = 0;

 public:
  std::vector<float> params;
  std::vector<float> first;   // slot 0, where the kind has one
  std::vector<float> second;  // slot 1, where the kind has one
};

}  // namespace lockstep::compute

#endif  // LOCKSTEP_TESTS_SERVER_COMPUTE_OPTIMIZER_ORACLE_H_
