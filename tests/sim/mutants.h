// The planted bugs, and whether the simulation notices them: those of the cores (common/mutation.h), which are compiled
// in for this alone, and those of the drivers around them (plan.h).
#ifndef LOCKSTEP_TESTS_SIM_MUTANTS_H_
#define LOCKSTEP_TESTS_SIM_MUTANTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/mutation.h"
#include "tests/sim/plan.h"

namespace lockstep::sim {

// One planted bug: of a core, or else of a driver.
struct Mutant {
  const char* name;
  const char* where;   // whose bug it is
  const char* effect;  // what goes wrong, for people
  Mutation mutation = Mutation::kNone;
  PlantedBug bug = PlantedBug::kNone;
};

const std::vector<Mutant>& AllMutants();

// How a mutant was caught.
struct Catch {
  uint64_t seed = 0;
  std::string guarantee;  // "G3", or "G1, G4"
  std::string message;    // of the check
};

struct MutantResult {
  uint64_t tried = 0;           // seeds
  std::optional<Catch> caught;  // absent: all of them passed
};

// Runs seeds 1 to `seeds` with that bug until one violates a guarantee, with so many threads. One mutant at a time:
// bugs of cores are switched on for the whole process. A core that crashes ends the process, and says in which seed.
MutantResult TryMutant(const Mutant& mutant, uint64_t seeds, uint32_t jobs);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_MUTANTS_H_
