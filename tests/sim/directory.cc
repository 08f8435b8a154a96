#include "tests/sim/directory.h"

namespace lockstep::sim {

Link& Directory::Open(World& world, LinkKind kind, bool reopened, Process& client, Process& server) {
  links.push_back(std::make_unique<Link>(world, kind, links.size(), reopened, client, server));
  Link& link = *links.back();
  if (world.now() >= world.plan().faults_end) return link;
  if (world.random().Chance(world.plan().faults.flap)) {
    const absl::Duration soon = world.random().Skewed(absl::ZeroDuration(), 2 * world.plan().delay);
    world.At(world.now() + soon, [&world, &link] {
      world.Count(Occurrence::kFlap);
      link.Break();
    });
  }
  for (const Partition& partition : partitions_) Apply(world, partition, link);
  return link;
}

void Directory::Sever(World& world, uint64_t from, uint64_t to, absl::Time until) {
  partitions_.push_back({from, to, until});
  for (size_t i = 0; i < links.size(); ++i) {
    if (links[i]->open()) Apply(world, partitions_.back(), *links[i]);
  }
}

// The ends notice by their keepalive, if the partition doesn't heal before.
void Directory::Apply(World& world, const Partition& partition, Link& link) {
  if (partition.until <= world.now()) return;
  bool hit = false;
  for (End end : {End::kClient, End::kServer}) {
    const End other = end == End::kClient ? End::kServer : End::kClient;
    if (link.process(end).place() != partition.to || link.process(other).place() != partition.from) continue;
    link.Stall(end, partition.until);
    hit = true;
  }
  if (!hit) return;
  const absl::Duration patience = world.random().Between(absl::Milliseconds(200), absl::Seconds(3));
  world.At(std::min(world.now() + patience, partition.until), [&world, &link] {
    if (!link.open()) return;
    world.Count(link.stalled() ? Occurrence::kPartitionBreak : Occurrence::kPartitionHealed);
    if (link.stalled()) link.Break();
  });
}

}  // namespace lockstep::sim
