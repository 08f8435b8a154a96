#include "tests/sim/exploration/cases.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/exploration/messages.h"

namespace lockstep::exploration {

std::vector<Case> QuickCases() {
  return {{"three generations without a crash", {.crashes = 0}, ""},
          {"two generations and a crash", {.generations = 2}, ""},
          {"from the first install", {.generations = 2, .rounds = 1, .start = Start::kSealing}, ""},
          {"broken streams", {.generations = 2, .rounds = 1, .crashes = 0, .broken_streams = true}, ""},
          {"power loss, nothing synced", {.generations = 2, .rounds = 1, .power_loss = true}, ""}};
}

std::vector<Case> FullCases() {
  return {{"three generations, two rounds and a crash", {}, ""},
          {"from the first install", {.rounds = 1, .start = Start::kSealing}, ""},
          {"broken streams", {.rounds = 1, .crashes = 0, .broken_streams = true}, ""},
          {"broken streams and a crash", {.generations = 2, .rounds = 1, .broken_streams = true}, ""},
          {"power loss, nothing synced", {.power_loss = true}, ""}};
}

std::vector<Case> CasesWithoutRule() {
  return {
      {"rule a off: a restarted shard goes on as if nothing had been",
       {.rules = {.restarted_shard_waits = false}},
       "shard 1 has lost its memory: version 1 is committed in generation 2 (shard 0)"},
      {"rule b off: a generation is announced when the first shard has installed it",
       {.rules = {.announce_after_all = false}},
       "rejects a worker that does nothing wrong: this shard has installed generation 1, not 2"},
      // As long as no disk loses what it had, rule b makes rule c unnecessary.
      {"rule c off: a shard comes back from before an undo, with a version that others have from another generation",
       {.rounds = 1, .power_loss = true, .rules = {.compare_generations = false}},
       "version 1 was completed in generation 1 on shard 0, but in generation 2 on shard 1"},
      {"rules b and c off: versions of different generations are taken for the same",
       {.crashes = 0, .check_rule_b = false, .rules = {.announce_after_all = false, .compare_generations = false}},
       "version 1 was completed in generation 1 on shard 0, but in generation 2 on shard 1"}};
}

std::string TextOf(const Options& options) {
  const bool holding = options.start == Start::kHolding;
  return absl::StrCat(kShards, " shards, ", kWorkers, " workers, ", options.generations, " generations, rounds ",
                      holding ? 1 : 0, " to ", options.rounds, ", ", options.crashes,
                      options.crashes == 1 ? " crash" : " crashes",
                      options.broken_streams ? ", streams that break at any moment" : "",
                      options.power_loss ? ", power loss without fsync" : "");
}

bool IsAsExpected(const Case& tried, const ExplorationResult& result) {
  if (tried.violation.empty()) return result.all && result.violation.empty();
  return absl::StrContains(result.violation, tried.violation);
}

}  // namespace lockstep::exploration
