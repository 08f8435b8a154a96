// A whole simulated cluster: starts it, sees to it that every rank has a process (as Kubernetes would), and checks from
// outside what no single process can see.
#ifndef LOCKSTEP_TESTS_SIM_CLUSTER_H_
#define LOCKSTEP_TESTS_SIM_CLUSTER_H_

#include <memory>
#include <string>
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

  // ---- What the faults do ----
  CoordinatorProcess& coordinator() { return *coordinator_; }
  Directory& directory() { return directory_; }
  WorkerProcess& StartWorker(std::string name, WorkerKind kind);
  std::string NewName();
  void CrashWorker(WorkerProcess& worker);
  // Kills a shard and starts it again with nothing; it has lost its memory.
  void RestartShard(ShardIndex index);
  // Workers that train and do not stand still.
  std::vector<WorkerProcess*> RunningWorkers();

 private:
  void StartShard(ShardIndex index);
  void SuperviseLater();
  void Supervise();
  bool Covered(const core::Seat& seat) const;
  uint32_t Unseated() const;
  void CheckSilenceLater();
  void CheckSilence();
  void CheckMissing(const ShardProcess& shard);
  void BreakLinks(const Process& process);

  World& world_;
  Directory directory_;
  std::unique_ptr<CoordinatorProcess> coordinator_;
  std::vector<std::unique_ptr<ShardProcess>> shards_;  // restarted ones too
  uint32_t names_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_CLUSTER_H_
