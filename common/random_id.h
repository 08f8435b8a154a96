// Random ids from the operating system.
//
// Thread-safety: functions.
#ifndef LOCKSTEP_COMMON_RANDOM_ID_H_
#define LOCKSTEP_COMMON_RANDOM_ID_H_

#include <cstdint>
#include <random>

namespace lockstep {

// 64 random bits, never 0.
inline uint64_t RandomId() {
  std::random_device device;
  const uint64_t high = device();
  const uint64_t low = device();
  const uint64_t id = (high << 32) | low;
  return id == 0 ? 1 : id;
}

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_RANDOM_ID_H_
