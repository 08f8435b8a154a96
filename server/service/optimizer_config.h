// The optimizer's settings between flags, messages and server/compute.
//
// Thread-safety: functions.
#ifndef LOCKSTEP_SERVER_SERVICE_OPTIMIZER_CONFIG_H_
#define LOCKSTEP_SERVER_SERVICE_OPTIMIZER_CONFIG_H_

#include "absl/status/statusor.h"
#include "proto/types.pb.h"
#include "server/compute/optimizer.h"
#include "server/compute/schedule.h"

namespace lockstep::service {

struct Optimization {
  compute::OptimizerOptions optimizer;
  compute::ScheduleOptions schedule;
};

// INVALID_ARGUMENT when a name is unknown or a number is out of range.
absl::StatusOr<Optimization> FromProto(const v1::OptimizerConfig& proto);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_OPTIMIZER_CONFIG_H_
