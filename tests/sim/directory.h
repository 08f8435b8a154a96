// Who is where: how the simulated processes find each other, and how they open streams.
#ifndef LOCKSTEP_TESTS_SIM_DIRECTORY_H_
#define LOCKSTEP_TESTS_SIM_DIRECTORY_H_

#include <memory>
#include <vector>

#include "tests/sim/link.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

class CoordinatorProcess;
class ShardProcess;
class WorkerProcess;

// Nothing is freed before the run's end, so that a late message always finds its receiver, even if dead.
struct Directory {
  std::vector<std::unique_ptr<Link>> links;
  CoordinatorProcess* coordinator = nullptr;
  std::vector<ShardProcess*> shards;  // by index; null: not started yet
  std::vector<std::unique_ptr<WorkerProcess>> workers;

  Link& Open(World& world, LinkKind kind, bool reopened, Process& client, Process& server) {
    links.push_back(std::make_unique<Link>(world, kind, links.size(), reopened, client, server));
    Link& link = *links.back();
    if (world.now() < world.plan().faults_end && world.random().Chance(world.plan().faults.flap)) {
      const absl::Duration soon = world.random().Skewed(absl::ZeroDuration(), 2 * world.plan().delay);
      world.At(world.now() + soon, [&world, &link] {
        world.Count(Occurrence::kFlap);
        link.Break();
      });
    }
    return link;
  }
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_DIRECTORY_H_
