// `lockstepctl wait --version V`.
#ifndef LOCKSTEP_DEPLOY_CTL_WAIT_COMMAND_H_
#define LOCKSTEP_DEPLOY_CTL_WAIT_COMMAND_H_

#include "deploy/ctl/control_client.h"
#include "deploy/ctl/exit_codes.h"
#include "deploy/ctl/options.h"

namespace lockstep::ctl {

// Asks five times a second until `options.version` is complete on every shard (kFine), the run
// ended before or `options.timeout` passed (kNo), or the endpoint has not answered for ten
// seconds on end (kUnreachable). Says on stderr what went wrong. Blocks.
ExitCode RunWait(const Options& options, ControlClient& client);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_WAIT_COMMAND_H_
