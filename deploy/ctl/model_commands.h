// `lockstepctl fingerprint` and `export`: the commands that read the parameters themselves.
#ifndef LOCKSTEP_DEPLOY_CTL_MODEL_COMMANDS_H_
#define LOCKSTEP_DEPLOY_CTL_MODEL_COMMANDS_H_

#include "deploy/ctl/exit_codes.h"
#include "deploy/ctl/options.h"

namespace lockstep::ctl {

// Prints the fingerprint of a file or of a version of the run: 32 hexadecimal digits on a line of
// their own on stdout; which version it was goes to stderr (in JSON, both are one object). Blocks.
ExitCode RunFingerprint(const Options& options);

// Writes a version of the run to `options.file`, which appears whole or not at all. Blocks.
ExitCode RunExport(const Options& options);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_MODEL_COMMANDS_H_
