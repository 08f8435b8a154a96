// How far the exploration goes, and which of the rules of design.md, section 4, are in force.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_OPTIONS_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_OPTIONS_H_

#include <cstdint>

namespace lockstep::exploration {

struct Rules {
  bool restarted_shard_waits = true;  // a
  bool announce_after_all = true;     // b
  bool compare_generations = true;    // c
};

// Where the exploration begins. What comes before is run in one order only.
enum class Start {
  kSealing,   // of generation 1: nothing is installed, no version is there
  kTraining,  // generation 1 is installed, no worker has heard of it
  kHolding,   // every worker holds version 0
};

struct Options {
  uint32_t generations = 3;  // no more are started
  uint32_t rounds = 2;       // workers contribute to no later one
  uint32_t crashes = 1;      // of a shard, the coordinator or a worker; at most kLives - 1 of the same worker
  Start start = Start::kHolding;
  // A worker's stream to a shard may break and be opened again, and the shard may notice that it has ended.
  bool broken_streams = false;
  // Crashes are those of shards that take the newest records of their journals along: power is lost, and nothing was
  // synced. Versions may be lost then, but never silently: a run ends loudly, or goes on with one history.
  bool power_loss = false;
  // A worker that knows a generation before a shard has installed it is a violation, not only what comes of it.
  bool check_rule_b = true;
  uint64_t max_states = 70'000'000;
  Rules rules = {};
};

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_OPTIONS_H_
