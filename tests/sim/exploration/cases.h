// What `tests/sim/explore` and explore_test explore.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_CASES_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_CASES_H_

#include <string>
#include <vector>

#include "tests/sim/exploration/explorer.h"
#include "tests/sim/exploration/options.h"

namespace lockstep::exploration {

struct Case {
  std::string name;
  Options options;
  std::string violation;  // part of what must be found; empty: every state is seen, and none violates anything
};

// All rules are in force. Seconds, and some minutes.
std::vector<Case> QuickCases();
std::vector<Case> FullCases();
// One rule is not: each must be noticed.
std::vector<Case> CasesWithoutRule();

// "2 shards, 2 workers, 3 generations, rounds 1 to 2, 1 crash".
std::string TextOf(const Options& options);
bool IsAsExpected(const Case& tried, const ExplorationResult& result);

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_CASES_H_
