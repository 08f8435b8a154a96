// Random numbers that are the same on every machine: xoshiro256** and nothing of the standard library's distributions.
//
// Thread-safety: none; one generator belongs to one simulated run.
#ifndef LOCKSTEP_TESTS_SIM_RANDOM_H_
#define LOCKSTEP_TESTS_SIM_RANDOM_H_

#include <array>
#include <cstdint>
#include <initializer_list>

#include "absl/time/time.h"

namespace lockstep::sim {

// A well-mixed number that depends on all of `values` and their order.
uint64_t Mix(std::initializer_list<uint64_t> values);

class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t Next();
  // 0 .. n-1; n is not 0.
  uint64_t Below(uint64_t n) { return Next() % n; }
  // lo .. hi, both included.
  uint64_t Between(uint64_t lo, uint64_t hi) { return lo + Below(hi - lo + 1); }
  absl::Duration Between(absl::Duration lo, absl::Duration hi);
  // Like Between, but small values are more likely.
  absl::Duration Skewed(absl::Duration lo, absl::Duration hi) { return Between(lo, Between(lo, hi)); }
  // True `permille` times in a thousand.
  bool Chance(uint32_t permille) { return Below(1000) < permille; }

 private:
  std::array<uint64_t, 4> state_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_RANDOM_H_
