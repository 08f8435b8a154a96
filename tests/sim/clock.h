// The clocks of simulated machines: none shares its own with another, and none is the simulation's.
#ifndef LOCKSTEP_TESTS_SIM_CLOCK_H_
#define LOCKSTEP_TESTS_SIM_CLOCK_H_

#include <cstdint>

#include "absl/time/time.h"
#include "tests/sim/random.h"

namespace lockstep::sim {

// What CLOCK_MONOTONIC shows on one machine from one boot to the next: from an arbitrary origin, a little too fast or
// too slow, and never back.
class SteadyClock {
 public:
  static constexpr int64_t kMostPpm = 2000;  // how much the rate may be off, in a million

  // The clock of a place in its boot number `boot`.
  SteadyClock(uint64_t seed, uint64_t place, uint64_t boot) {
    Random random(Mix({seed, 11, place, boot}));
    offset_ = random.Between(absl::ZeroDuration(), absl::Hours(10000));
    ppm_ = static_cast<int64_t>(random.Between(uint64_t{0}, uint64_t{2 * kMostPpm})) - kMostPpm;
  }

  // What it shows at that time of the simulation.
  absl::Time At(absl::Time when) const {
    const int64_t elapsed = absl::ToUnixNanos(when);
    return when + offset_ + absl::Nanoseconds(elapsed * ppm_ / kMillion);
  }
  // How long it takes in the simulation until the clock shows so much more; at least that long.
  absl::Duration Lasts(absl::Duration shown) const {
    return shown * kMillion / (kMillion + ppm_) + absl::Nanoseconds(1);
  }

 private:
  static constexpr int64_t kMillion = 1'000'000;
  absl::Duration offset_;
  int64_t ppm_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_CLOCK_H_
