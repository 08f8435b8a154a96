#ifndef LOCKSTEP_SERVER_COMPUTE_FINITE_H_
#define LOCKSTEP_SERVER_COMPUTE_FINITE_H_

// Is there a NaN or an infinity among these values, and which is the first?
//
// A weighted sum is finite only if everything in it is: NaN and Inf times a weight above 0, plus whatever, stay NaN or
// Inf. So it is enough to look at the sum, which is in the cache anyway, and only when that is not finite at what came.
// The reverse does not hold: a sum of finite values may overflow.
//
// Thread-safety: pure functions. Errors: none from the environment; too few bytes abort.

#include <cstddef>
#include <optional>

#include "absl/types/span.h"
#include "server/compute/slice_reader.h"

namespace lockstep::compute {

// A value that is NaN or infinite, and its place.
struct NotFinite {
  size_t index = 0;
  float value = 0;
};

// Whether all are finite. One pass, as fast as the values can be read.
bool AllFinite(absl::Span<const float> values);

// The first that is not; absent if all are finite.
std::optional<NotFinite> FirstNotFinite(absl::Span<const float> values);

// The same of the first `size` little-endian fp32 values in consecutive slices, whose boundaries may lie anywhere.
// Slower: for when it is known that something is wrong.
std::optional<NotFinite> FirstNotFinite(absl::Span<const ByteSlice> slices, size_t size);

}  // namespace lockstep::compute

#endif  // LOCKSTEP_SERVER_COMPUTE_FINITE_H_
