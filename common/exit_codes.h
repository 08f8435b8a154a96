// What the long-running programs (lockstep-server, lockstep-worker) tell whoever restarts them. deploy/train-local and
// the Kubernetes manifests rely on these numbers: they are an interface. SIGTERM: a server ends the round in progress,
// or leaves it to be undone, and exits with kDone; a worker exits at once with kRetry and without leaving the run,
// which waits for its replacement (a Job does not count a pod that was deleted or evicted).
#ifndef LOCKSTEP_COMMON_EXIT_CODES_H_
#define LOCKSTEP_COMMON_EXIT_CODES_H_

#include "absl/status/status.h"

namespace lockstep {

enum class ExitCode : int {
  kDone = 0,       // or, of a server: was asked to stop, and has
  kUsage = 64,     // flags, configuration, or NaN in a contribution: a restart would end the same way
  kDamaged = 65,   // input data, a journal or a checkpoint is damaged: a restart would end the same way
  kInternal = 70,  // a bug, or something that nobody expected
  kRetry = 75,     // start the process again; also: a worker that was asked to stop
  kFenced = 77,    // another process holds this place
};

// For the footer of `--help`.
inline constexpr char kExitCodeHelp[] =
    "Exit codes:\n"
    "  0   done; a server: also stopped, as it was asked to (SIGTERM)\n"
    "  64  wrong flags or configuration, or a contribution with NaN or Inf\n"
    "  65  damaged data\n"
    "  70  internal error\n"
    "  75  start it again; a worker: also stopped, as it was asked to (SIGTERM)\n"
    "  77  fenced: another process holds its place";

// For what the run answers. OK: kDone. INVALID_ARGUMENT, NOT_FOUND: kUsage. PERMISSION_DENIED: kFenced. UNAVAILABLE,
// ABORTED, DATA_LOSS, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, CANCELLED: kRetry. Others: kInternal.
ExitCode ExitCodeFor(const absl::Status& status);

// The same for reading a program's input files: DATA_LOSS is kDamaged, and whatever else is wrong with them kUsage.
ExitCode ExitCodeForInput(const absl::Status& status);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_EXIT_CODES_H_
