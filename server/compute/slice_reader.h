#ifndef LOCKSTEP_SERVER_COMPUTE_SLICE_READER_H_
#define LOCKSTEP_SERVER_COMPUTE_SLICE_READER_H_

#include <array>
#include <cstddef>

#include "absl/types/span.h"

namespace lockstep::compute {

// A run of bytes as it came off the wire: any length, any alignment. Not owned.
using ByteSlice = absl::Span<const std::byte>;

namespace internal {

// Reads fp32 values in order from consecutive slices, in place wherever a value lies whole in one
// slice. Only a value that straddles slices (two, or up to four of one byte) is copied.
//
// Invariant: the position is always between two values, never inside one.
//
// Ownership: refers to the slices and to their bytes, which must outlive it.
// Thread-safety: none; copies are independent.
class SliceReader {
 public:
  // Room for one straddling value.
  using Bounce = std::array<std::byte, sizeof(float)>;

  explicit SliceReader(absl::Span<const ByteSlice> slices) : slices_(slices) {}

  // Returns how many values follow that lie whole in the current slice. 0 means that the next
  // value straddles slices, or that there is none.
  size_t WholeValues();

  // Returns the address of the next `count` values (little-endian, unaligned) and moves past them.
  // `count` must be at most WholeValues(), or 1: a straddling value is then put together in
  // `bounce`, and its address returned. Aborts when the slices end first.
  const std::byte* Take(size_t count, Bounce& bounce);

 private:
  const std::byte* TakeStraddling(Bounce& bounce);
  void SkipEmptySlices();

  absl::Span<const ByteSlice> slices_;  // the first one is the current one
  size_t offset_ = 0;                   // bytes of the current slice that are behind us
};

}  // namespace internal
}  // namespace lockstep::compute

#endif  // LOCKSTEP_SERVER_COMPUTE_SLICE_READER_H_
