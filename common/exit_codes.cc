#include "common/exit_codes.h"

namespace lockstep {

ExitCode ExitCodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
      return ExitCode::kUsage;
    case absl::StatusCode::kPermissionDenied:
      return ExitCode::kFenced;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
      return ExitCode::kRetry;
    default:
      return ExitCode::kInternal;
  }
}

ExitCode ExitCodeForInput(const absl::Status& status) {
  if (status.ok()) return ExitCode::kDone;
  return absl::IsDataLoss(status) ? ExitCode::kDamaged : ExitCode::kUsage;
}

}  // namespace lockstep
