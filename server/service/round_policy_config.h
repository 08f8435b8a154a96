// RoundPolicy between flags, messages and the core.
//
// Thread-safety: pure functions.
#ifndef LOCKSTEP_SERVER_SERVICE_ROUND_POLICY_CONFIG_H_
#define LOCKSTEP_SERVER_SERVICE_ROUND_POLICY_CONFIG_H_

#include "absl/status/statusor.h"
#include "proto/types.pb.h"
#include "server/core/round_policy.h"

namespace lockstep::service {

v1::RoundPolicy ToProto(const core::RoundPolicy& policy);

// INVALID_ARGUMENT: no such policy. An empty name is `all`.
absl::StatusOr<core::RoundPolicy> FromProto(const v1::RoundPolicy& policy);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_ROUND_POLICY_CONFIG_H_
