// `lockstepctl checkpoint`.
#ifndef LOCKSTEP_DEPLOY_CTL_CHECKPOINT_COMMAND_H_
#define LOCKSTEP_DEPLOY_CTL_CHECKPOINT_COMMAND_H_

#include <optional>
#include <string>

#include "deploy/ctl/control_client.h"
#include "deploy/ctl/exit_codes.h"
#include "deploy/ctl/options.h"

namespace lockstep::ctl {

// What a status says about a checkpoint that was asked for when things stood as in `before`.
struct CheckpointVerdict {
  ExitCode exit_code = kFine;
  std::string error;  // empty if fine
};

// Absent: it is under way still. Pure.
std::optional<CheckpointVerdict> JudgeCheckpoint(const v1::CheckpointStatus& before, const v1::Status& now);

// Asks for a checkpoint, then looks five times a second until it is there (kFine; prints version and folder), was given
// up, or the run has ended or `options.timeout` passed before (kNo). Says on stderr what went wrong. Blocks.
ExitCode RunCheckpoint(const Options& options, ControlClient& client);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_CHECKPOINT_COMMAND_H_
