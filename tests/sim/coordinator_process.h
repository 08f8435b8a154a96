// The simulated coordinator: the real CoordinatorCore, and streams that bring its events and take its effects away.
//
// What the driver in server/service must do too: answer on the stream that the process opened last. The greeting of an
// older one may be read later, and must not take its place.
#ifndef LOCKSTEP_TESTS_SIM_COORDINATOR_PROCESS_H_
#define LOCKSTEP_TESTS_SIM_COORDINATOR_PROCESS_H_

#include <map>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "server/core/coordinator.h"
#include "tests/sim/directory.h"
#include "tests/sim/link.h"
#include "tests/sim/process.h"

namespace lockstep::sim {

class CoordinatorProcess : public Process {
 public:
  static constexpr const char* kRunId = "run";

  CoordinatorProcess(World& world, Directory& directory);

  // Starts to tick.
  void Start();

  // ---- Messages ----
  void OnJoin(Link& link, const core::WorkerJoins& event);
  void OnDefine(const core::WorkerDefines& event) { Step(event); }
  void OnBeat(const core::WorkerBeats& event) { Step(event); }
  void OnLeave(const core::WorkerLeaves& event) { Step(event); }
  void OnShard(Link& link, const core::ShardArrives& event);
  void OnSealed(const core::ShardSealed& event) { Step(event); }
  void OnInstalled(const core::ShardInstalled& event) { Step(event); }
  // The operator's command.
  void Evict(Rank rank);

  const core::CoordinatorCore& core() const { return core_; }
  bool fenced(Incarnation incarnation) const { return fenced_.contains(incarnation); }

 private:
  using Event = std::variant<core::WorkerJoins, core::WorkerDefines, core::WorkerBeats, core::WorkerLeaves,
                             core::ShardArrives, core::ShardSealed, core::ShardInstalled, core::Tick>;

  void Step(const Event& event);
  void CountSeatChange(const core::Seat& before, const core::Seat& after);
  void Run(const core::CoordinatorEffects& effects);
  void Do(const core::WelcomeWorker& effect);
  void Do(const core::RefuseWorker& effect);
  void Do(const core::AcknowledgeLeave& effect);
  void Do(const core::AnnounceGeneration& effect);
  void Do(const core::WelcomeShard& effect);
  void Do(const core::RefuseShard& effect);
  void Do(const core::SendSeal& effect);
  void Do(const core::SendInstall& effect);
  void Do(const core::EndRun& effect);
  void Do(const core::Note& effect);

  Link* WorkerLink(Incarnation incarnation) const;
  WorkerProcess* Find(Incarnation incarnation) const;
  Link* ShardLink(ShardIndex shard) const { return shards_[shard.value()]; }
  void CountRefusal(const core::RefuseWorker& effect);
  void CheckStep(core::RunState before, Generation generation);
  bool IsNewest(Link& link, Link*& newest);
  void CheckRollback(Round resume);
  void MaybeBreakShardLink(ShardIndex shard);
  void TickLater();

  Directory& directory_;
  core::CoordinatorCore core_;
  std::map<Incarnation, Link*> workers_;
  std::vector<Link*> shards_;
  std::set<Incarnation> fenced_;
  std::set<Incarnation> left_;
  std::set<std::pair<Generation, Incarnation>> announced_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_COORDINATOR_PROCESS_H_
