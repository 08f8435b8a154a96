// Which weights a contribution may have: the sum over all workers of a run is finite.
//
// Thread-safety: functions.
#ifndef LOCKSTEP_COMMON_WEIGHT_H_
#define LOCKSTEP_COMMON_WEIGHT_H_

#include <cstdint>
#include <limits>

namespace lockstep {

// The largest run.
inline constexpr uint32_t kMaxWorkers = 4096;
// As many weights of this size as a run can have workers do not overflow: a power of two below the largest float.
inline constexpr float kMaxWeight = std::numeric_limits<float>::max() / kMaxWorkers;

// False for NaN.
constexpr bool IsWeight(float weight) { return weight >= 0 && weight <= kMaxWeight; }

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_WEIGHT_H_
