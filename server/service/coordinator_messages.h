// What shards tell the coordinator and what it tells them, as events and effects of the cores and as messages
// (proto/coordinator.proto).
//
// Thread-safety: functions, without I/O.
#ifndef LOCKSTEP_SERVER_SERVICE_COORDINATOR_MESSAGES_H_
#define LOCKSTEP_SERVER_SERVICE_COORDINATOR_MESSAGES_H_

#include <optional>

#include "proto/coordinator.pb.h"
#include "server/core/checkpoints.h"
#include "server/core/coordinator.h"

namespace lockstep::service {

// The process that a message came from.
struct ShardLife {
  ShardIndex shard;
  Incarnation incarnation;
};

// ---- What shards tell ----

core::ShardSealed ToEvent(ShardLife from, const v1::Sealed& message);
core::ShardInstalled ToEvent(ShardLife from, const v1::Installed& message);
core::ContributionWhole ToEvent(ShardLife from, const v1::Whole& message);
core::RankWaits ToEvent(ShardLife from, const v1::Waiting& message);
core::ShardRestorable ToEvent(ShardLife from, const v1::Restorable& message);
// Absent: there is nothing that it refuses.
std::optional<core::ShardRefuses> RefusalIn(ShardLife from, const v1::ShardReport& message);
core::CheckpointPart ToPart(const v1::CheckpointPart& message);

// ---- What they are told ----

v1::ShardCommand ToCommand(const core::SendSeal& effect);
// `run`: what it installs. `beginning`: what the run begins with, if it begins with something.
v1::ShardCommand ToCommand(const core::SendInstall& effect, v1::RunDescription run, core::NanPolicy nan_policy,
                           const std::optional<v1::RestoreSource>& beginning);
v1::ShardCommand ToCommand(const core::DecideRound& effect);
v1::ShardCommand ToCommand(const core::GiveVersion& effect);
v1::ShardCommand ToCommand(const core::SendFindRestorable& effect);
v1::ShardCommand ToCommand(const core::AskForCheckpoint& effect);
v1::ShardCommand ToCommand(const core::EndRun& effect);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_COORDINATOR_MESSAGES_H_
