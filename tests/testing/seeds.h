// Random tests that can be repeated: everything is drawn from a seed, and a failure shows the command that repeats it.
//
// Thread-safety: functions.
#ifndef LOCKSTEP_TESTS_TESTING_SEEDS_H_
#define LOCKSTEP_TESTS_TESTING_SEEDS_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>

namespace lockstep::testing {

using Random = std::mt19937_64;

// A number from low to high, both included. (The standard's distributions differ from library to library.)
inline uint64_t Uniform(Random& random, uint64_t low, uint64_t high) { return low + random() % (high - low + 1); }

// A number in [-1, 1).
inline float RandomFloat(Random& random) { return static_cast<float>(random() >> 40) * 0x1p-23f - 1; }

inline std::string RandomBytes(Random& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// The command that repeats a test with `seed`.
inline std::string RepeatCommand(uint64_t seed) {
  const char* const target = std::getenv("TEST_TARGET");
  return "repeat with: bazel test " + std::string(target == nullptr ? "THIS_TEST" : target) +
         " --test_env=LOCKSTEP_SEED=" + std::to_string(seed);
}

// Runs `body` for the seeds 1..count, or for LOCKSTEP_SEED alone where the environment has it. Stops at the first seed
// that fails.
inline void ForEachSeed(uint64_t count, const std::function<void(Random&)>& body) {
  const char* const chosen = std::getenv("LOCKSTEP_SEED");
  const uint64_t first = chosen == nullptr ? 1 : std::strtoull(chosen, nullptr, 10);
  const uint64_t last = chosen == nullptr ? count : first;
  for (uint64_t seed = first; seed <= last && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(RepeatCommand(seed));
    Random random(seed);
    body(random);
  }
}

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_SEEDS_H_
