// Who is where: how the simulated processes find each other and their disks, and how they open streams.
#ifndef LOCKSTEP_TESTS_SIM_DIRECTORY_H_
#define LOCKSTEP_TESTS_SIM_DIRECTORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "server/core/coordinator.h"
#include "tests/sim/checkpoint_folder.h"
#include "tests/sim/disk.h"
#include "tests/sim/journal.h"
#include "tests/sim/link.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

class CoordinatorProcess;
class ShardProcess;
class WorkerProcess;

// Where processes run. The coordinator lives in shard 0's process.
inline uint64_t PlaceOf(ShardIndex shard) { return shard.value(); }
inline constexpr uint64_t kCoordinatorPlace = 0;
inline uint64_t PlaceOfWorker(size_t number) { return 1000 + number; }

// Nothing is freed before the run's end, so that a late message always finds its receiver, even if dead.
class Directory {
 public:
  std::vector<std::unique_ptr<Link>> links;
  CoordinatorProcess* coordinator = nullptr;  // its newest life; before the first one, a dead one
  std::vector<ShardProcess*> shards;          // by index, newest lives; null: not started yet
  std::vector<std::unique_ptr<WorkerProcess>> workers;

  std::function<void()> crash_coordinator;      // shard 0's process, at a bad moment
  std::function<void(ShardIndex)> crash_shard;  // any of them
  std::function<void()> lose_any_disk;          // if the plan still loses one; not shard 0's if there is another

  // ---- What outlives the processes ----
  std::vector<std::unique_ptr<Journal>> journals;  // by shard
  std::unique_ptr<Disk<core::CoordinatorMemory>> coordinator_disk;
  std::vector<std::optional<ShardBase>> bases;    // by shard, on its own disk
  std::unique_ptr<CheckpointFolder> checkpoints;  // shared

  // ---- What checks must know of all lives of the coordinator ----
  std::map<std::pair<Generation, Rank>, Version> given;  // newest version, by a decision or as a gift
  std::set<Incarnation> fenced;                          // workers that were told so
  Generation newest_announced;                           // to any worker
  absl::Time coordinator_time = absl::InfinitePast();    // for a planted bug
  std::vector<bool> lost;                      // by shard: what it had is gone, and nothing is installed since
  std::map<Generation, uint64_t> generations;  // that shards were told to seal for, and by which life

  Link& Open(World& world, LinkKind kind, bool reopened, Process& client, Process& server);
  // Nothing that runs at place `from` reaches place `to` before `until`.
  void Sever(World& world, uint64_t from, uint64_t to, absl::Time until);

 private:
  struct Partition {
    uint64_t from;
    uint64_t to;
    absl::Time until;
  };
  static void Apply(World& world, const Partition& partition, Link& link);

  std::vector<Partition> partitions_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_DIRECTORY_H_
