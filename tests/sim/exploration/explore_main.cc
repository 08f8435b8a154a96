// Explores all interleavings of the real cores; `tests/sim/explore --help` says how.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/sim/exploration/cases.h"
#include "tests/sim/exploration/explorer.h"

namespace lockstep::exploration {
namespace {

bool Try(const Case& tried, bool trace) {
  absl::PrintF("%s\n  bounds: %s\n", tried.name, TextOf(tried.options));
  std::fflush(stdout);
  const ExplorationResult result = Explore(tried.options);
  const bool expected = IsAsExpected(tried, result);
  const bool violates = !result.violation.empty();
  if (violates && (trace || !expected)) absl::PrintF("%s", result.trace);
  if (violates) absl::PrintF("  VIOLATION%s: %s\n", expected ? ", as it should" : "", result.violation);
  if (!violates && !expected) {
    absl::PrintF("  UNEXPECTED: %s\n", tried.violation.empty() ? "not every state has been seen" : "no violation");
  }
  if (result.failed > 0)
    absl::PrintF("  ends: %d well, %d loudly, with the loss named\n", result.finished, result.failed);
  absl::PrintF("  %d states (%s), %d transitions, %d violations, %.1f s; %d states of cores, longest path %d\n\n",
               result.states, result.all ? "all" : "not all", result.transitions, violates ? 1 : 0, result.seconds,
               result.core_states, result.longest);
  return expected;
}

bool TryAll(const std::vector<Case>& cases, bool trace) {
  bool expected = true;
  for (const Case& tried : cases) expected &= Try(tried, trace);
  return expected;
}

int Main(int argc, char** argv) {
  Case own{.name = "as asked for", .options = {}, .violation = ""};
  bool quick = false;
  bool trace = false;
  bool from_start = false;
  std::string without;
  CLI::App app(
      "Explores every interleaving of two real shards, two real workers and a real coordinator, and prints the "
      "shortest "
      "trace to a violation. Without bounds or rules: all that is explored before a release, some minutes.");
  app.add_flag("--quick", quick, "What explore_test explores: some seconds");
  app.add_flag("--trace", trace, "Print traces of violations that are expected, too");
  std::vector<CLI::Option*> bounds = {
      app.add_option("--generations", own.options.generations, "Generations")->capture_default_str(),
      app.add_option("--rounds", own.options.rounds, "The last round")->capture_default_str(),
      app.add_option("--crashes", own.options.crashes, "Crashes")->check(CLI::Range(0, 2))->capture_default_str(),
      app.add_option("--max-states", own.options.max_states, "Give up after so many")->capture_default_str(),
      app.add_flag("--from-start", from_start, "Begin before generation 1 is installed, not when version 0 is held"),
      app.add_flag("--broken-streams", own.options.broken_streams, "Streams to shards break and are opened again"),
      app.add_flag("--power-loss", own.options.power_loss,
                   "Crashes are of shards, and take the newest records of their journals"),
      app.add_option("--without", without, "Rules to switch off: a, b, c, or several")};
  CLI11_PARSE(app, argc, argv);
  bool one = false;
  for (const CLI::Option* bound : bounds) one |= bound->count() > 0;
  if (from_start) own.options.start = Start::kSealing;
  own.options.rules = {.restarted_shard_waits = without.find('a') == std::string::npos,
                       .announce_after_all = without.find('b') == std::string::npos,
                       .compare_generations = without.find('c') == std::string::npos};
  own.options.check_rule_b = own.options.rules.announce_after_all;  // what comes of it is asked for
  if (one) return Try(own, /*trace=*/true) ? 0 : 1;
  bool expected = TryAll(quick ? QuickCases() : FullCases(), trace);
  expected &= TryAll(CasesWithoutRule(), trace);
  return expected ? 0 : 1;
}

}  // namespace
}  // namespace lockstep::exploration

int main(int argc, char** argv) { return lockstep::exploration::Main(argc, argv); }
