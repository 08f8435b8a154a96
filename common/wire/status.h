// Statuses between Abseil and gRPC: the codes have the same numbers.
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

}  // namespace lockstep::wire

#endif  // LOCKSTEP_COMMON_WIRE_STATUS_H_
