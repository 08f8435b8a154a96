#include "tests/sim/simulation.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/chaos.h"
#include "tests/sim/cluster.h"
#include "tests/sim/crash_report.h"
#include "tests/sim/world.h"

namespace lockstep::sim {
namespace {

constexpr uint64_t kMostSteps = 3'000'000;

void Judge(World& world, Cluster& cluster) {
  if (world.violation() || world.loss_reported()) return;
  if (!cluster.Finished()) return world.Violate(cluster.Unfinished());
  const bool everybody_left = world.occurrences().of(Occurrence::kLeftEarly) > 0;
  world.Expect(everybody_left || world.oracle().EverHeld() == world.plan().last_version(),
               "the run ends before its last version is held (G6)");
  cluster.CheckDisks();
}

void Classify(World& world) {
  if (world.occurrences().of(Occurrence::kShardLost) == 0) return;
  if (world.loss_reported()) return world.Count(Occurrence::kShardLossReported);
  if (world.occurrences().of(Occurrence::kRollback) == 0) world.Count(Occurrence::kShardLossHarmless);
}

}  // namespace

RunResult RunSeed(uint64_t seed, PlantedBug bug, bool trace) {
  const SeedOfThread note(seed);
  World world(DrawPlan(seed), bug, trace);
  Cluster cluster(world);
  Chaos chaos(world, cluster);
  cluster.Start();
  chaos.Start();
  while (!world.violation() && !world.loss_reported() && !cluster.Finished()) {
    if (world.now() > world.plan().deadline || world.steps() > kMostSteps || !world.Step()) break;
    cluster.Check();
  }
  Judge(world, cluster);
  Classify(world);
  return {.seed = seed,
          .violation = world.violation(),
          .steps = world.steps(),
          .time = world.now() - absl::UnixEpoch(),
          .trace_hash = world.trace_hash(),
          .occurrences = world.occurrences()};
}

CampaignResult RunCampaign(const Campaign& campaign) {
  CampaignResult total;
  std::mutex mutex;
  std::atomic<uint64_t> next = campaign.first_seed;
  std::atomic<bool> stop = false;
  const auto work = [&] {
    while (!stop) {
      const uint64_t seed = next++;
      if (seed >= campaign.first_seed + campaign.seeds) return;
      RunResult result = RunSeed(seed, campaign.bug);
      const std::lock_guard lock(mutex);
      ++total.runs;
      total.steps += result.steps;
      total.occurrences.Add(result.occurrences);
      if (!result.violation) continue;
      stop = true;
      if (!total.violation || result.seed < total.violation->seed) total.violation = std::move(result);
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t job = 1; job < campaign.jobs; ++job) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  return total;
}

std::string Describe(const RunResult& result) {
  return absl::StrFormat(
      "VIOLATION in seed %u at step %u, virtual time %s: %s\n  repeat it: tests/sim/run --seed %u --trace", result.seed,
      result.steps, absl::FormatDuration(result.time), result.violation.value_or("none"), result.seed);
}

}  // namespace lockstep::sim
