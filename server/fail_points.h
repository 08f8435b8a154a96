// Fail points of lockstep-server: a process that kills itself between two steps of durable work, for tests of recovery.
//
// Thread-safety: functions; a FailPoint may be called from any thread.
#ifndef LOCKSTEP_SERVER_FAIL_POINTS_H_
#define LOCKSTEP_SERVER_FAIL_POINTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/storage/fail_point.h"

namespace lockstep {

// All places that can be named.
std::vector<std::string> FailPointNames();

// `spec`: NAME@N, or NAME for the first time. The process ends with SIGKILL when it comes by that place for the N-th
// time. Empty: null. INVALID_ARGUMENT: there is no such place, or N is no positive number.
absl::StatusOr<storage::FailPoint> MakeFailPoint(absl::string_view spec);

}  // namespace lockstep

#endif  // LOCKSTEP_SERVER_FAIL_POINTS_H_
