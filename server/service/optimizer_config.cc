#include "server/service/optimizer_config.h"

namespace lockstep::service {

absl::StatusOr<Optimization> FromProto(const v1::OptimizerConfig& proto) {
  const auto kind = compute::ParseOptimizerKind(proto.optimizer());
  if (!kind.ok()) return kind.status();
  const auto schedule = compute::ParseScheduleKind(proto.schedule());
  if (!schedule.ok()) return schedule.status();
  Optimization result;
  result.optimizer = {.kind = *kind,
                      .lr = proto.lr(),
                      .momentum = proto.momentum(),
                      .beta1 = proto.beta1(),
                      .beta2 = proto.beta2(),
                      .epsilon = proto.epsilon(),
                      .weight_decay = proto.weight_decay()};
  result.schedule = {.kind = *schedule,
                     .warmup_rounds = proto.warmup_rounds(),
                     .step_rounds = proto.schedule_step_rounds(),
                     .gamma = proto.schedule_gamma(),
                     .total_rounds = proto.schedule_total_rounds(),
                     .min_lr = proto.schedule_min_lr()};
  if (absl::Status status = compute::Validate(result.optimizer); !status.ok()) return status;
  if (absl::Status status = compute::Validate(result.schedule); !status.ok()) return status;
  return result;
}

}  // namespace lockstep::service
