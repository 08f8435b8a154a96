// Statuses between Abseil and gRPC (the codes have the same numbers), and what they mean on every stream of Lockstep.
//
// Thread-safety: functions.
#ifndef LOCKSTEP_COMMON_WIRE_STATUS_H_
#define LOCKSTEP_COMMON_WIRE_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace lockstep::wire {

inline grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

inline absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// A stream or an attempt ended like this: no other attempt of this process can go better.
inline bool IsFinal(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsInvalidArgument(status) || absl::IsAborted(status) ||
         absl::IsUnimplemented(status);
}

// The trailer beside OUT_OF_RANGE with which a shard tells a reader its newest version, as decimal text.
inline constexpr char kNewestVersionTrailer[] = "lockstep-version";

}  // namespace lockstep::wire

#endif  // LOCKSTEP_COMMON_WIRE_STATUS_H_
