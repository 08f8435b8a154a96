#include "server/compute/schedule.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/compute/named_values.h"
#include "server/compute/plain_math.h"
#include "server/compute/require.h"

namespace lockstep::compute {
namespace {

constexpr internal::NamedValue<ScheduleKind> kKinds[] = {
    {"constant", ScheduleKind::kConstant},
    {"step", ScheduleKind::kStep},
    {"cosine", ScheduleKind::kCosine},
};

template <class Value>
absl::Status Check(bool good, absl::string_view setting, absl::string_view expected, Value got) {
  if (good) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("schedule ", setting, ": expected ", expected, ", got ", got));
}

absl::Status ValidateStep(const ScheduleOptions& options) {
  absl::Status status = Check(options.step_rounds >= 1, "step_rounds", "at least 1", options.step_rounds);
  status.Update(
      Check(std::isfinite(options.gamma) && options.gamma > 0, "gamma", "a finite number > 0", options.gamma));
  return status;
}

absl::Status ValidateCosine(const ScheduleOptions& options) {
  absl::Status status =
      Check(options.total_rounds > options.warmup_rounds, "total_rounds",
            absl::StrCat("more than the ", options.warmup_rounds, " warmup_rounds"), options.total_rounds);
  status.Update(
      Check(std::isfinite(options.min_lr) && options.min_lr >= 0, "min_lr", "a finite number >= 0", options.min_lr));
  return status;
}

double StepRate(const ScheduleOptions& options, double base_lr, uint64_t elapsed) {
  return base_lr * internal::Power(options.gamma, elapsed / options.step_rounds);
}

double CosineRate(const ScheduleOptions& options, double base_lr, uint64_t elapsed) {
  const uint64_t length = options.total_rounds - options.warmup_rounds;
  if (elapsed >= length) {
    return options.min_lr;
  }
  const double progress = static_cast<double>(elapsed) / static_cast<double>(length);
  return options.min_lr + (base_lr - options.min_lr) * (1 + internal::CosinePi(progress)) / 2;
}

}  // namespace

absl::StatusOr<ScheduleKind> ParseScheduleKind(absl::string_view name) {
  return internal::ParseName<ScheduleKind>("schedule", kKinds, name);
}

absl::string_view ScheduleKindName(ScheduleKind kind) { return internal::NameOf<ScheduleKind>(kKinds, kind); }

absl::Status Validate(const ScheduleOptions& options) {
  switch (options.kind) {
    case ScheduleKind::kConstant:
      return absl::OkStatus();
    case ScheduleKind::kStep:
      return ValidateStep(options);
    case ScheduleKind::kCosine:
      return ValidateCosine(options);
  }
  return absl::InvalidArgumentError("schedule: expected a known kind");
}

double LearningRate(const ScheduleOptions& options, double base_lr, uint64_t version) {
  internal::Require(version >= 1, "the first version that a step makes is 1");
  const uint64_t warmup = options.warmup_rounds;
  if (version <= warmup) {
    return base_lr * (static_cast<double>(version) / (static_cast<double>(warmup) + 1));
  }
  const uint64_t elapsed = version - 1 - warmup;
  switch (options.kind) {
    case ScheduleKind::kConstant:
      return base_lr;
    case ScheduleKind::kStep:
      return StepRate(options, base_lr, elapsed);
    case ScheduleKind::kCosine:
      return CosineRate(options, base_lr, elapsed);
  }
  return base_lr;
}

}  // namespace lockstep::compute
