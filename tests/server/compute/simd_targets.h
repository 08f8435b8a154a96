#ifndef LOCKSTEP_TESTS_SERVER_COMPUTE_SIMD_TARGETS_H_
#define LOCKSTEP_TESTS_SERVER_COMPUTE_SIMD_TARGETS_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>

#include "hwy/highway.h"

namespace lockstep::compute {

// Runs `body` once with each instruction set that was compiled in and that this CPU has, and a
// trace that names it. Returns how many there were.
inline int ForEachSimdTarget(const std::function<void()>& body) {
  int count = 0;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(hwy::TargetName(target));
    body();
    ++count;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  return count;
}

}  // namespace lockstep::compute

#endif  // LOCKSTEP_TESTS_SERVER_COMPUTE_SIMD_TARGETS_H_
