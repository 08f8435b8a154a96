// What lockstepctl tells the shell. Scripts and Kubernetes probes rely on these numbers; `--help`
// lists them.
#ifndef LOCKSTEP_DEPLOY_CTL_EXIT_CODES_H_
#define LOCKSTEP_DEPLOY_CTL_EXIT_CODES_H_

#include "absl/status/status.h"

namespace lockstep::ctl {

enum ExitCode : int {
  kFine = 0,
  kNo = 1,            // the answer is no: not healthy, not ready, or the condition was not met
  kUsage = 64,        // EX_USAGE: flags or arguments that cannot be meant
  kUnreachable = 69,  // EX_UNAVAILABLE: no Lockstep shard answers at the endpoint
  kOther = 70,        // EX_SOFTWARE: everything else
};

// For the footer of `--help`.
inline constexpr char kExitCodeHelp[] =
    "Exit codes:\n"
    "  0   fine\n"
    "  1   no: not healthy, not ready, or the condition was not met\n"
    "  64  wrong usage\n"
    "  69  the endpoint cannot be reached, or is not a Lockstep shard\n"
    "  70  anything else";

// UNAVAILABLE, DEADLINE_EXCEEDED: kUnreachable. NOT_FOUND, OUT_OF_RANGE, FAILED_PRECONDITION: kNo.
// INVALID_ARGUMENT: kUsage. OK: kFine. Others: kOther.
ExitCode ExitCodeFor(const absl::Status& status);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_EXIT_CODES_H_
