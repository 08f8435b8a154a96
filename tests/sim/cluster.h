// A whole simulated cluster: starts it, sees to it that every rank has a process (as Kubernetes would), and checks from
// outside what no single process can see.
#ifndef LOCKSTEP_TESTS_SIM_CLUSTER_H_
#define LOCKSTEP_TESTS_SIM_CLUSTER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/coordinator_process.h"
#include "tests/sim/directory.h"
#include "tests/sim/shard_process.h"
#include "tests/sim/worker_process.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

class Cluster {
 public:
  explicit Cluster(World& world);

  // Plans the start of every process; world.Step() does the rest.
  void Start();
  // Whether the run is over: every worker has left and every shard has heard so.
  bool Finished() const;
  // What is unfinished, for the person who reads why a run hangs.
  std::string Unfinished() const;
  // Invariants that hold between any two steps.
  void Check();
  // After a run that has ended well: what would come back if everything crashed once more.
  void CheckDisks();

  // ---- What the faults do ----
  CoordinatorProcess& coordinator() { return *coordinators_.back(); }
  Directory& directory() { return directory_; }
  WorkerProcess& StartWorker(std::string name, WorkerKind kind);
  std::string NewName();
  void CrashWorker(WorkerProcess& worker);
  // Kills a shard's process, with the coordinator if it is shard 0's, and starts it again with its disk some time
  // later. False: it does not run, or has ended.
  bool CrashShard(ShardIndex index, CrashKind kind);
  // The same, but its disk is gone: journal and base. (The coordinator's file is not: without it the run is gone.)
  bool LoseShard(ShardIndex index);
  // Everything at once.
  void CrashAll(CrashKind kind);
  // A kill, or sometimes a power loss if the plan's disks survive it.
  CrashKind DrawCrashKind();
  // All processes that run; alive and not stopped.
  std::vector<Process*> Running();
  // Workers that train and do not stand still.
  std::vector<WorkerProcess*> RunningWorkers();

 private:
  void StartCoordinator();
  void StartShard(ShardIndex index);
  void After(absl::Duration delay, std::function<void()> what) { world_.At(world_.now() + delay, std::move(what)); }
  void SuperviseLater();
  void Supervise();
  bool Covered(const core::Seat& seat) const;
  uint32_t Unseated() const;
  void CheckSilenceLater();
  void CheckSilence();
  void CheckSeat(const core::Seat& seat);
  void CheckMissing(const ShardProcess& shard);
  void CheckServed(const WorkerProcess& worker);
  bool HasItsPart(const ShardProcess& shard);
  void BreakLinks(const Process& process);

  World& world_;
  Directory directory_;
  std::vector<std::unique_ptr<CoordinatorProcess>> coordinators_;  // all lives; the first is nobody
  std::vector<std::unique_ptr<ShardProcess>> shards_;              // restarted ones too
  uint32_t names_ = 0;
  // Workers that wait for what every shard has: for which round, and since when.
  std::map<Incarnation, std::pair<Round, absl::Time>> unserved_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_CLUSTER_H_
