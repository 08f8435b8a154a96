#include "server/service/coordinator_messages.h"

#include <utility>

#include "common/convert.h"
#include "server/service/not_finite.h"

namespace lockstep::service {

core::ShardSealed ToEvent(ShardLife from, const v1::Sealed& message) {
  return {.shard = from.shard,
          .incarnation = from.incarnation,
          .generation = Generation(message.generation()),
          .has = {.next = Round(message.next_round()),
                  .completed_in = Generation(message.completed_in()),
                  .completed_in_before = Generation(message.completed_in_before()),
                  .committed = message.committed(),
                  .blank = message.blank(),
                  .damage = message.damage()}};
}

core::ShardInstalled ToEvent(ShardLife from, const v1::Installed& message) {
  return {.shard = from.shard,
          .incarnation = from.incarnation,
          .generation = Generation(message.generation()),
          .error = message.error(),
          .code = static_cast<absl::StatusCode>(message.code())};
}

core::ContributionWhole ToEvent(ShardLife from, const v1::Whole& message) {
  return {.shard = from.shard,
          .incarnation = from.incarnation,
          .generation = Generation(message.generation()),
          .round = Round(message.round()),
          .rank = Rank(message.rank())};
}

core::RankWaits ToEvent(ShardLife from, const v1::Waiting& message) {
  return {.shard = from.shard,
          .incarnation = from.incarnation,
          .generation = Generation(message.generation()),
          .rank = Rank(message.rank()),
          .given = Version(message.given())};
}

core::ShardRestorable ToEvent(ShardLife from, const v1::Restorable& message) {
  core::ShardRestorable event{.shard = from.shard,
                              .incarnation = from.incarnation,
                              .generation = Generation(message.generation()),
                              .versions = {},
                              .damaged = {message.damaged().begin(), message.damaged().end()}};
  for (const v1::Restorable::Checkpoint& checkpoint : message.checkpoints()) {
    event.versions.push_back({Version(checkpoint.version()), Generation(checkpoint.completed_in())});
  }
  return event;
}

std::optional<core::ShardRefuses> RefusalIn(ShardLife from, const v1::ShardReport& message) {
  if (message.not_finite().empty()) return std::nullopt;
  return core::ShardRefuses{.shard = from.shard,
                            .incarnation = from.incarnation,
                            .generation = Generation(message.generation()),
                            .found = FindingsFromProto(message.not_finite())};
}

core::CheckpointPart ToPart(const v1::CheckpointPart& message) {
  return {.version = Version(message.version()),
          .completed_in = Generation(message.completed_in()),
          .participants = RanksFromProto(message.participants()),
          .file = message.file(),
          .bytes = message.bytes(),
          .head_xxh3_128 = message.head_xxh3_128()};
}

v1::ShardCommand ToCommand(const core::SendSeal& effect) {
  v1::ShardCommand command;
  command.mutable_seal()->set_generation(effect.generation.value());
  command.mutable_seal()->set_incarnation(effect.to.value());
  return command;
}

v1::ShardCommand ToCommand(const core::SendInstall& effect, v1::RunDescription run, core::NanPolicy nan_policy,
                           const std::optional<v1::RestoreSource>& beginning) {
  v1::ShardCommand command;
  v1::Install* install = command.mutable_install();
  install->set_generation(effect.generation.value());
  install->set_incarnation(effect.to.value());
  install->set_resume_round(effect.resume.value());
  ToProto(effect.members, install->mutable_members());
  ToProto(effect.excluded, install->mutable_excluded());
  install->set_nan_policy(nan_policy == core::NanPolicy::kAllow ? v1::NAN_ALLOW : v1::NAN_REFUSE);
  *install->mutable_run() = std::move(run);
  if (effect.restoring == core::Restoring::kBeginning) {
    *install->mutable_restore() = *beginning;
  } else if (effect.restoring == core::Restoring::kRollback) {
    install->mutable_restore()->set_kind(v1::RestoreSource::OWN);
    install->mutable_restore()->set_version(effect.resume.previous().value());
  }
  return command;
}

v1::ShardCommand ToCommand(const core::DecideRound& effect) {
  v1::ShardCommand command;
  v1::Close* close = command.mutable_close();
  close->set_generation(effect.generation.value());
  close->set_round(effect.round.value());
  ToProto(effect.participants, close->mutable_participants());
  return command;
}

v1::ShardCommand ToCommand(const core::GiveVersion& effect) {
  v1::ShardCommand command;
  v1::Give* give = command.mutable_give();
  give->set_generation(effect.generation.value());
  give->set_rank(effect.rank.value());
  give->set_version(effect.version.value());
  return command;
}

v1::ShardCommand ToCommand(const core::SendFindRestorable& effect) {
  v1::ShardCommand command;
  command.mutable_find_restorable()->set_generation(effect.generation.value());
  command.mutable_find_restorable()->set_incarnation(effect.to.value());
  return command;
}

v1::ShardCommand ToCommand(const core::AskForCheckpoint& effect) {
  v1::ShardCommand command;
  command.mutable_take_checkpoint()->set_version(effect.version.value());
  return command;
}

v1::ShardCommand ToCommand(const core::EndRun& effect) {
  v1::ShardCommand command;
  command.mutable_finish()->set_failure(effect.failure);
  command.mutable_finish()->set_code(static_cast<uint32_t>(effect.code));
  return command;
}

}  // namespace lockstep::service
