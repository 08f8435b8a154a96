// What the long-running programs (lockstep-server, lockstep-worker) tell whoever restarts them. deploy/train-local and
// the Kubernetes manifests rely on these numbers.
#ifndef LOCKSTEP_COMMON_EXIT_CODES_H_
#define LOCKSTEP_COMMON_EXIT_CODES_H_

#include "absl/status/status.h"

namespace lockstep {

enum class ExitCode : int {
  kDone = 0,
  kUsage = 64,     // flags or configuration: a restart would end the same way
  kDamaged = 65,   // input data is damaged: a restart would end the same way
  kInternal = 70,  // a bug, or something that nobody expected
  kRetry = 75,     // start the process again
  kFenced = 77,    // another process holds this place
};

// For the footer of `--help`.
inline constexpr char kExitCodeHelp[] =
    "Exit codes:\n"
    "  0   done\n"
    "  64  wrong flags or configuration\n"
    "  65  damaged data\n"
    "  70  internal error\n"
    "  75  start it again\n"
    "  77  fenced: another process holds its place";

// For what the run answers. OK: kDone. INVALID_ARGUMENT, NOT_FOUND: kUsage. PERMISSION_DENIED: kFenced. UNAVAILABLE,
// ABORTED, DATA_LOSS, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, CANCELLED: kRetry. Others: kInternal.
ExitCode ExitCodeFor(const absl::Status& status);

// The same for reading a program's input files: DATA_LOSS is kDamaged, and whatever else is wrong with them kUsage.
ExitCode ExitCodeForInput(const absl::Status& status);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_EXIT_CODES_H_
