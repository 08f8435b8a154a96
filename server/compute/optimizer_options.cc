#include "server/compute/optimizer_options.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/compute/named_values.h"

namespace lockstep::compute {
namespace {

constexpr internal::NamedValue<OptimizerKind> kKinds[] = {
    {"aggregate", OptimizerKind::kAggregate}, {"sgd", OptimizerKind::kSgd},   {"momentum", OptimizerKind::kMomentum},
    {"nesterov", OptimizerKind::kNesterov},   {"adam", OptimizerKind::kAdam}, {"adamw", OptimizerKind::kAdamW},
    {"adagrad", OptimizerKind::kAdagrad},
};

constexpr absl::string_view kMomentumSlots[] = {"momentum_buffer"};
constexpr absl::string_view kAdamSlots[] = {"exp_avg", "exp_avg_sq"};
constexpr absl::string_view kAdagradSlots[] = {"sum"};

bool UsesMomentum(OptimizerKind kind) { return kind == OptimizerKind::kMomentum || kind == OptimizerKind::kNesterov; }

bool UsesBetas(OptimizerKind kind) { return kind == OptimizerKind::kAdam || kind == OptimizerKind::kAdamW; }

bool UsesEpsilon(OptimizerKind kind) { return UsesBetas(kind) || kind == OptimizerKind::kAdagrad; }

absl::Status Check(bool good, absl::string_view setting, absl::string_view expected, double got) {
  if (good) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("optimizer ", setting, ": expected ", expected, ", got ", got));
}

absl::Status CheckNotNegative(absl::string_view setting, double value) {
  return Check(std::isfinite(value) && value >= 0, setting, "a finite number >= 0", value);
}

absl::Status CheckMomentum(const OptimizerOptions& options) {
  const double momentum = options.momentum;
  if (options.kind == OptimizerKind::kNesterov) {
    return Check(momentum > 0 && momentum <= 1, "momentum", "0 < momentum <= 1 for nesterov", momentum);
  }
  return Check(momentum >= 0 && momentum <= 1, "momentum", "0 <= momentum <= 1", momentum);
}

absl::Status CheckBeta(absl::string_view setting, double beta) {
  return Check(beta >= 0 && beta < 1, setting, absl::StrCat("0 <= ", setting, " < 1"), beta);
}

absl::Status CheckEpsilon(double epsilon) {
  return Check(std::isfinite(epsilon) && static_cast<float>(epsilon) > 0, "epsilon",
               "a finite number > 0 (also as fp32), so that a zero gradient isn't 0/0", epsilon);
}

absl::Status CheckWeightDecay(const OptimizerOptions& options) {
  if (options.kind == OptimizerKind::kAggregate) {
    return Check(options.weight_decay == 0, "weight_decay",
                 "0 with aggregate, where the workers' own optimizer decays weights", options.weight_decay);
  }
  return CheckNotNegative("weight_decay", options.weight_decay);
}

}  // namespace

OptimizerOptions DefaultOptions(OptimizerKind kind) {
  OptimizerOptions options;
  options.kind = kind;
  if (UsesBetas(kind)) {
    options.lr = 1e-3;
  }
  if (kind == OptimizerKind::kAdamW) {
    options.weight_decay = 1e-2;
  }
  if (kind == OptimizerKind::kAdagrad) {
    options.lr = 1e-2;
    options.epsilon = 1e-10;
  }
  return options;
}

absl::StatusOr<OptimizerKind> ParseOptimizerKind(absl::string_view name) {
  return internal::ParseName<OptimizerKind>("optimizer", kKinds, name);
}

absl::string_view OptimizerKindName(OptimizerKind kind) { return internal::NameOf<OptimizerKind>(kKinds, kind); }

absl::Status Validate(const OptimizerOptions& options) {
  absl::Status status = CheckNotNegative("lr", options.lr);
  status.Update(CheckWeightDecay(options));
  if (UsesMomentum(options.kind)) {
    status.Update(CheckMomentum(options));
  }
  if (UsesBetas(options.kind)) {
    status.Update(CheckBeta("beta1", options.beta1));
    status.Update(CheckBeta("beta2", options.beta2));
  }
  if (UsesEpsilon(options.kind)) {
    status.Update(CheckEpsilon(options.epsilon));
  }
  return status;
}

int StateSlots(OptimizerKind kind) { return static_cast<int>(StateSlotNames(kind).size()); }

absl::Span<const absl::string_view> StateSlotNames(OptimizerKind kind) {
  if (UsesMomentum(kind)) {
    return kMomentumSlots;
  }
  if (UsesBetas(kind)) {
    return kAdamSlots;
  }
  return kind == OptimizerKind::kAdagrad ? absl::MakeConstSpan(kAdagradSlots) : absl::Span<const absl::string_view>();
}

}  // namespace lockstep::compute
