// Simulates whole runs of a cluster, one per seed; `tests/sim/run --help` says how.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tests/sim/crash_report.h"
#include "tests/sim/simulation.h"

namespace lockstep::sim {
namespace {

// From this many runs on, every kind of fault and rare event must have happened.
constexpr uint64_t kEnoughRuns = 500;

int RunOne(uint64_t seed, bool trace) {
  const RunResult result = RunSeed(seed, PlantedBug::kNone, trace);
  if (result.violation) absl::PrintF("%s\n", Describe(result));
  absl::PrintF("seed %u: %s, %u steps, virtual time %s, trace hash %016x\n", seed,
               result.violation ? "VIOLATION" : "ok", result.steps, absl::FormatDuration(result.time),
               result.trace_hash);
  return result.violation ? 1 : 0;
}

int RunMany(const Campaign& campaign) {
  const auto start = std::chrono::steady_clock::now();
  const CampaignResult result = RunCampaign(campaign);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  absl::PrintF("%s", result.occurrences.Table());
  if (result.violation) absl::PrintF("%s\n", Describe(*result.violation));
  const bool enough = result.runs >= kEnoughRuns;
  const auto never = enough ? result.occurrences.Never() : std::vector<std::string>();
  if (!never.empty()) absl::PrintF("never happened: %s\n", absl::StrJoin(never, ", "));
  absl::PrintF("%u seeds, %d violations, %u steps, %.1f s\n", result.runs, result.violation ? 1 : 0, result.steps,
               seconds.count());
  return result.violation || !never.empty() ? 1 : 0;
}

int Main(int argc, char** argv) {
  Campaign campaign{.seeds = 2000, .jobs = std::max(1u, std::thread::hardware_concurrency())};
  uint64_t seed = 0;
  bool trace = false;
  CLI::App app("Simulates runs of a cluster with faults and checks the guarantees after every step.");
  app.add_option("--seeds", campaign.seeds, "How many seeds to run")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--first-seed", campaign.first_seed, "The first of them")->capture_default_str();
  app.add_option("--jobs", campaign.jobs, "Threads")->check(CLI::PositiveNumber)->capture_default_str();
  const CLI::Option* one = app.add_option("--seed", seed, "Run this seed alone");
  app.add_flag("--trace", trace, "Print what happens in it")->needs(const_cast<CLI::Option*>(one));
  CLI11_PARSE(app, argc, argv);
  InstallCrashReport();
  return one->count() > 0 ? RunOne(seed, trace) : RunMany(campaign);
}

}  // namespace
}  // namespace lockstep::sim

int main(int argc, char** argv) { return lockstep::sim::Main(argc, argv); }
