// The commands that ask the Control service of one shard.
#ifndef LOCKSTEP_DEPLOY_CTL_COMMANDS_H_
#define LOCKSTEP_DEPLOY_CTL_COMMANDS_H_

#include "deploy/ctl/exit_codes.h"
#include "deploy/ctl/options.h"

namespace lockstep::ctl {

// Runs any command but `fingerprint` and `export`: prints the answer on stdout and what went wrong
// on stderr. Blocks until answered or timed out, or for as long as it is to watch.
ExitCode RunControlCommand(const Options& options);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_COMMANDS_H_
