// The clock that decides: monotonic, so that a step of the wall clock changes nothing.
//
// Only drivers read it (server/service, worker/client, deploy); the cores are given the time.
#ifndef LOCKSTEP_COMMON_CLOCK_H_
#define LOCKSTEP_COMMON_CLOCK_H_

#include <chrono>

#include "absl/time/time.h"

namespace lockstep {

// Monotonic time, counted from an arbitrary origin (in Linux: the start of the machine). Never goes back.
inline absl::Time MonotonicNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_CLOCK_H_
