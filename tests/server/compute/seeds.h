#ifndef LOCKSTEP_TESTS_SERVER_COMPUTE_SEEDS_H_
#define LOCKSTEP_TESTS_SERVER_COMPUTE_SEEDS_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>

namespace lockstep::compute {

using Random = std::mt19937_64;

// Returns a number from low to high, both included. (The standard's distributions differ from
// library to library, and a seed must mean the same everywhere.)
inline uint64_t Uniform(Random& random, uint64_t low, uint64_t high) { return low + random() % (high - low + 1); }

// Returns a number in [-1, 1) with a random exponent: sums of these are rounded at each step.
inline float RandomFloat(Random& random) {
  const float fraction = static_cast<float>(random() >> 40) * 0x1p-23f - 1;
  return fraction / static_cast<float>(uint64_t{1} << Uniform(random, 0, 12));
}

// Runs `body` for the seeds 1..count, or for LOCKSTEP_SEED alone where the environment has it
// (bazel test ... --test_env=LOCKSTEP_SEED=17). A failure shows how to repeat its seed. Stops at
// the first seed that fails.
inline void ForEachSeed(uint64_t count, const std::function<void(Random&)>& body) {
  const char* const chosen = std::getenv("LOCKSTEP_SEED");
  const uint64_t first = chosen == nullptr ? 1 : std::strtoull(chosen, nullptr, 10);
  const uint64_t last = chosen == nullptr ? count : first;
  for (uint64_t seed = first; seed <= last && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("repeat with --test_env=LOCKSTEP_SEED=" + std::to_string(seed));
    Random random(seed);
    body(random);
  }
}

}  // namespace lockstep::compute

#endif  // LOCKSTEP_TESTS_SERVER_COMPUTE_SEEDS_H_
