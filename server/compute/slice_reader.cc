#include "server/compute/slice_reader.h"

#include <algorithm>
#include <cstring>

#include "server/compute/require.h"

namespace lockstep::compute::internal {

void SliceReader::SkipEmptySlices() {
  while (!slices_.empty() && offset_ == slices_.front().size()) {
    slices_.remove_prefix(1);
    offset_ = 0;
  }
}

size_t SliceReader::WholeValues() {
  SkipEmptySlices();
  return slices_.empty() ? 0 : (slices_.front().size() - offset_) / sizeof(float);
}

const std::byte* SliceReader::Take(size_t count, Bounce& bounce) {
  if (WholeValues() < count) {
    Require(count == 1, "took more values than lie whole in a slice");
    return TakeStraddling(bounce);
  }
  const std::byte* const values = slices_.front().data() + offset_;
  offset_ += count * sizeof(float);
  return values;
}

const std::byte* SliceReader::TakeStraddling(Bounce& bounce) {
  for (size_t filled = 0; filled < bounce.size();) {
    SkipEmptySlices();
    Require(!slices_.empty(), "a contribution holds fewer values than the sum wants");
    const ByteSlice rest = slices_.front().subspan(offset_, bounce.size() - filled);
    std::memcpy(bounce.data() + filled, rest.data(), rest.size());
    filled += rest.size();
    offset_ += rest.size();
  }
  return bounce.data();
}

}  // namespace lockstep::compute::internal
