// The simulated coordinator, one life of it: the real CoordinatorCore, streams that bring its events and take its
// effects away, and a disk that it finds again in its next life.
//
//   Step -> effects -> a queue that stands still from a Persist until the disk has what it says
//
// What the driver in server/service must do too: answer on the stream that the process opened last. The greeting of an
// older one may be read later, and must not take its place.
#ifndef LOCKSTEP_TESTS_SIM_COORDINATOR_PROCESS_H_
#define LOCKSTEP_TESTS_SIM_COORDINATOR_PROCESS_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "server/core/checkpoints.h"
#include "server/core/coordinator.h"
#include "tests/sim/background.h"
#include "tests/sim/directory.h"
#include "tests/sim/link.h"
#include "tests/sim/process.h"

namespace lockstep::sim {

class CoordinatorProcess : public Process {
 public:
  static constexpr const char* kRunId = "run";

  // `life`: the first one is 1.
  CoordinatorProcess(World& world, Directory& directory, uint64_t life);

  // Starts to tick.
  void Start();

  // ---- Messages ----
  void OnJoin(Link& link, const core::WorkerJoins& event);
  void OnDefine(const core::WorkerDefines& event) { Step(event); }
  void OnBeat(const core::WorkerBeats& event, absl::Time sent_at);
  void OnLeave(const core::WorkerLeaves& event) { Step(event); }
  void OnShard(Link& link, const core::ShardArrives& event);
  void OnSealed(const core::ShardSealed& event);
  void OnShardSays(const core::ContributionWhole& event) { Step(event); }
  void OnShardSays(const core::RankWaits& event);
  void OnShardSays(const core::ShardRestorable& event);
  void OnShardSays(const core::ShardInstalled& event) { Step(event); }
  void OnShardSays(const core::RoundSeen& event);
  void OnShardSays(const core::PartWritten& event);
  void OnShardSays(const core::PartMissed& event);
  // The operator's command.
  void Evict(Rank rank);

  const core::CoordinatorCore& core() const { return core_; }
  // What would survive the worst of crashes now.
  const core::CoordinatorMemory& durable() const { return durable_; }
  // Counts what has happened to it just now, as it crashes; what it was writing is there or not.
  void Crash();

 private:
  using Event = std::variant<core::WorkerJoins, core::WorkerDefines, core::WorkerBeats, core::WorkerLeaves,
                             core::ShardArrives, core::ShardSealed, core::ShardInstalled, core::ContributionWhole,
                             core::RankWaits, core::ShardRestorable, core::Tick>;

  void Step(const Event& event);
  void CountSeatChange(const core::Seat& before, const core::Seat& after);
  core::CoordinatorCore Recover();
  void Run(const core::CoordinatorEffects& effects);
  // Does what is in the queue, up to the next thing that the disk must have first.
  void Flush();
  void Persisted();
  void Do(const core::Persist& effect);
  void Do(const core::WelcomeWorker& effect);
  void Do(const core::RefuseWorker& effect);
  void Do(const core::AcknowledgeLeave& effect);
  void Do(const core::AnnounceGeneration& effect);
  void Do(const core::WelcomeShard& effect);
  void Do(const core::RefuseShard& effect);
  void Do(const core::SendSeal& effect);
  void Do(const core::SendInstall& effect);
  void Do(const core::DecideRound& effect);
  void Do(const core::GiveVersion& effect);
  void Do(const core::SendFindRestorable& effect);
  void Do(const core::EndRun& effect);
  void Do(const core::Note& effect);

  Link* WorkerLink(Incarnation incarnation) const;
  WorkerProcess* Find(Incarnation incarnation) const;
  Link* ShardLink(ShardIndex shard) const { return shards_[shard.value()]; }
  void CountRefusal(const core::RefuseWorker& effect);
  void CheckStep(core::RunState before, Generation generation);
  bool IsNewest(Link& link, Link*& newest);
  void CheckResume(Generation generation, Round resume);
  void NoteRollback(const core::Rollback& rollback);
  void CheckFailure(const std::string& failure);
  void CheckLease(const core::Seat& before, const core::Seat& after);
  absl::Time Now();
  template <class CheckpointEvent>
  void StepCheckpoints(const CheckpointEvent& event);
  void Run(const core::CheckpointEffects& effects);
  void WriteManifest(const core::WriteCheckpointManifest& effect);
  void RemoveOld(Version newest);
  void GiveUpManifest();
  void BeginCheckpoints(Round resume);
  void CheckDurable(bool holds, const char* what);
  void MaybeBreakShardLink(ShardIndex shard);
  void CountDecision(const core::DecideRound& effect);
  void WakeLater();
  void TickLater();

  Directory& directory_;
  const uint64_t life_;
  Disk<core::CoordinatorMemory>& disk_;
  core::CoordinatorMemory durable_;
  core::CoordinatorCore core_;
  // Effects, and the memory that a Persist is about, in order.
  std::deque<std::variant<core::CoordinatorEffect, core::CoordinatorMemory>> waiting_;
  bool persisting_ = false;
  std::vector<std::optional<core::ShardSealed>> sealed_;  // by shard, of the newest generation
  std::map<Incarnation, Link*> workers_;
  std::vector<Link*> shards_;
  std::set<Incarnation> left_;
  std::set<std::pair<Generation, Incarnation>> announced_;
  Generation newest_announced_;
  absl::Time wakes_at_ = absl::InfiniteFuture();  // the newest that was planned
  std::map<Incarnation, absl::Time> heard_;       // in the simulation's time
  absl::Duration wall_ahead_;                     // for a planted bug

  // ---- Checkpoints; see server/service/coordinator_driver and manifest_writer ----
  core::CheckpointCore checkpoints_;
  Background manifests_;
  Generation begun_;
  std::optional<Version> findable_;  // the newest whole checkpoint when shards were asked
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_COORDINATOR_PROCESS_H_
