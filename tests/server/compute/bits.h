#ifndef LOCKSTEP_TESTS_SERVER_COMPUTE_BITS_H_
#define LOCKSTEP_TESTS_SERVER_COMPUTE_BITS_H_

#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace lockstep::compute {

// Success if both arrays have the same size and bits: -0 is not +0, and there is no tolerance.
inline testing::AssertionResult SameBits(absl::Span<const float> got, absl::Span<const float> want) {
  if (got.size() != want.size()) {
    return testing::AssertionFailure() << got.size() << " elements, want " << want.size();
  }
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::bit_cast<uint32_t>(got[i]) != std::bit_cast<uint32_t>(want[i])) {
      return testing::AssertionFailure() << "element " << i << " is " << std::hexfloat << got[i] << ", want "
                                         << want[i];
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace lockstep::compute

#endif  // LOCKSTEP_TESTS_SERVER_COMPUTE_BITS_H_
