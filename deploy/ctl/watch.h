// `--watch`: asks and shows again and again.
#ifndef LOCKSTEP_DEPLOY_CTL_WATCH_H_
#define LOCKSTEP_DEPLOY_CTL_WATCH_H_

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "deploy/ctl/exit_codes.h"

namespace lockstep::ctl {

// One look at the run.
struct Look {
  std::string text;   // for stdout; may be empty
  std::string error;  // for stderr; may be empty
  ExitCode exit_code = kFine;
  bool last = false;  // nothing will change any more
};

// Prints it.
void Show(const Look& look);

// Shows a new look every `interval` until one is the last, and returns its exit code. On a
// terminal each look takes the place of the one before. Failures are shown, above the last answer
// on a terminal, and asked again: a shard may come back. Blocks; Ctrl-C ends the program.
ExitCode Watch(absl::Duration interval, const std::function<Look()>& take_look);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_WATCH_H_
