// Runs whole simulated runs, one per seed.
#ifndef LOCKSTEP_TESTS_SIM_SIMULATION_H_
#define LOCKSTEP_TESTS_SIM_SIMULATION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tests/sim/occurrences.h"
#include "tests/sim/plan.h"

namespace lockstep::sim {

struct RunResult {
  uint64_t seed = 0;
  std::optional<std::string> violation;
  uint64_t steps = 0;
  absl::Duration time;  // virtual
  uint64_t trace_hash = 0;
  Occurrences occurrences;
};

// One run. Pure: the same seed gives the same result. `trace` prints every step to standard output.
RunResult RunSeed(uint64_t seed, PlantedBug bug = PlantedBug::kNone, bool trace = false);

struct Campaign {
  uint64_t first_seed = 1;
  uint64_t seeds = 1;
  uint32_t jobs = 1;  // threads
  PlantedBug bug = PlantedBug::kNone;
};

struct CampaignResult {
  uint64_t runs = 0;
  uint64_t steps = 0;
  Occurrences occurrences;
  std::optional<RunResult> violation;  // of the lowest seed that was run and violates a guarantee
};

// Many runs; none is started once one has violated a guarantee.
CampaignResult RunCampaign(const Campaign& campaign);

// What broke, when, and the command that shows it again.
std::string Describe(const RunResult& result);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_SIMULATION_H_
