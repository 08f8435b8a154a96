// All interleavings of two shards, two workers and a coordinator, breadth first: what it prints is the shortest trace
// to a violation.
//
//   ExplorationResult result = Explore({.generations = 3, .rounds = 2, .crashes = 1});
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_EXPLORER_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_EXPLORER_H_

#include <cstdint>
#include <string>

#include "tests/sim/exploration/options.h"

namespace lockstep::exploration {

struct ExplorationResult {
  uint64_t states = 0;
  uint64_t transitions = 0;
  uint64_t core_states = 0;    // of all processes, each by itself
  uint64_t beyond_bounds = 0;  // transitions that were not followed
  uint64_t finished = 0;       // states in which every worker holds the last version and nothing is left to do
  uint64_t failed = 0;         // states in which the run has failed loudly, and nothing is left to do (power loss only)
  bool all = false;            // every state within the bounds has been seen
  uint32_t longest = 0;        // steps from the start to the farthest state
  double seconds = 0;
  std::string violation;  // empty: none
  std::string trace;      // a line per step
};

ExplorationResult Explore(const Options& options);

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_EXPLORER_H_
