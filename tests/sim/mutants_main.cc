// Plants one bug after the other and prints which guarantee catches it; `tests/sim/mutants --help` says how.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "absl/strings/str_format.h"
#include "tests/sim/crash_report.h"
#include "tests/sim/mutants.h"
#include "tests/sim/simulation.h"

namespace lockstep::sim {
namespace {

struct Options {
  uint64_t seeds = 2000;
  uint32_t jobs = std::max(1u, std::thread::hardware_concurrency());
  std::string only;
  bool trace = false;
};

int Trace(const Mutant& mutant, const MutantResult& result) {
  if (!result.caught) return 1;
  active_mutation = mutant.mutation;
  RunSeed(result.caught->seed, mutant.bug, /*trace=*/true);
  return 0;
}

int TryAll(const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  uint32_t planted = 0;
  uint32_t caught = 0;
  absl::PrintF("%-26s %-12s %-12s %5s %6s  %s\n", "bug", "in", "caught by", "seed", "tried", "what the check said");
  for (const Mutant& mutant : AllMutants()) {
    if (!options.only.empty() && options.only != mutant.name) continue;
    ++planted;
    const MutantResult result = TryMutant(mutant, options.seeds, options.jobs);
    if (result.caught) {
      ++caught;
      absl::PrintF("%-26s %-12s %-12s %5u %6u  %s\n", mutant.name, mutant.where, result.caught->guarantee,
                   result.caught->seed, result.tried, result.caught->message.substr(0, 110));
    } else {
      absl::PrintF("%-26s %-12s %-12s %5s %6u  %s\n", mutant.name, mutant.where, "MISSED", "-", result.tried,
                   mutant.effect);
    }
    std::fflush(stdout);
    if (options.trace) return Trace(mutant, result);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  absl::PrintF("%u bugs planted, %u caught, %u missed in %u seeds, %.1f s\n", planted, caught, planted - caught,
               options.seeds, seconds.count());
  return planted > 0 && caught == planted ? 0 : 1;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Plants bugs in the cores and the simulated drivers, one at a time, and runs seeds until a check notices. Exits "
      "with 1 if one goes unnoticed.");
  app.add_option("--seeds", options.seeds, "How many seeds at most")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--jobs", options.jobs, "Threads")->check(CLI::PositiveNumber)->capture_default_str();
  CLI::Option* only = app.add_option("--only", options.only, "Plant this one alone, by its name in the table");
  app.add_flag("--trace", options.trace, "Print what happens in the seed that catches it")->needs(only);
  CLI11_PARSE(app, argc, argv);
  InstallCrashReport();
  return TryAll(options);
}

}  // namespace
}  // namespace lockstep::sim

int main(int argc, char** argv) { return lockstep::sim::Main(argc, argv); }
