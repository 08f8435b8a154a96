// The faults of one run: each kind strikes again and again until its plan says that faults end.
#ifndef LOCKSTEP_TESTS_SIM_CHAOS_H_
#define LOCKSTEP_TESTS_SIM_CHAOS_H_

#include <functional>

#include "absl/time/time.h"
#include "tests/sim/cluster.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

class Chaos {
 public:
  Chaos(World& world, Cluster& cluster) : world_(world), cluster_(cluster) {}

  // Plans the first fault of each kind.
  void Start();

 private:
  void StrikeLater(absl::Duration interval, void (Chaos::*fault)());
  void CrashWorker();
  void PauseWorker();
  void WakeWorker(WorkerProcess& worker);
  void EvictWorker();
  void PauseShard();
  void StartStranger();
  void StartWrongModel();
  void StartNewcomer();
  void LoseShard();
  void LoseOneMore();
  void CrashShard();
  void CrashCoordinator();
  void CrashAll();
  void PauseAll();
  void JumpWallClock();
  void Partition();
  void BreakWorkerStream() { BreakLink(LinkKind::kWorkerToCoordinator, Occurrence::kWorkerStreamBreak); }
  void BreakShardStream() { BreakLink(LinkKind::kShardToCoordinator, Occurrence::kShardStreamBreak); }
  void BreakDataStream() { BreakLink(LinkKind::kWorkerToShard, Occurrence::kDataStreamBreak); }
  void BreakLink(LinkKind kind, Occurrence occurrence);
  // Null: none runs.
  WorkerProcess* AnyWorker();
  Rank AnyRank() { return Rank(static_cast<uint32_t>(world_.random().Below(world_.plan().ranks()))); }

  World& world_;
  Cluster& cluster_;
  uint32_t shards_lost_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_CHAOS_H_
