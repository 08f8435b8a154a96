#ifndef LOCKSTEP_SERVER_COMPUTE_RADIX_TREE_H_
#define LOCKSTEP_SERVER_COMPUTE_RADIX_TREE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"

namespace lockstep::compute::internal {

// Adds up numbered leaves (the sums of groups) along the fixed radix-8 tree: leaves 8j..8j+7 in
// order, then these sums in order, and so on. Absent leaves, and nodes without any leaf, are
// skipped, not added as zero. The shape depends on the indices alone.
//
// Works on pieces of kPieceSize elements, so that partial sums stay in the first-level cache. All
// memory is taken in the constructor: one piece per level above the leaves.
//
// Thread-safety: none; copies are independent.
class RadixTree {
 public:
  static constexpr size_t kPieceSize = 1024;

  // Writes the next `size` elements of the leaf at `position` in the constructor's list to `sum`.
  // Within one piece the leaves are asked in order, each exactly once.
  using Leaf = absl::FunctionRef<void(size_t position, float* sum, size_t size)>;

  // `indices` number the leaves that are present; strictly increasing; may be empty.
  using Indices = absl::InlinedVector<uint32_t, 1>;
  explicit RadixTree(Indices indices);

  // Writes the next `size` elements of the tree's sum to `sum`: all +0 if there are no leaves. A
  // single leaf is asked for all of them at once, several piece by piece.
  void Sum(Leaf leaf, float* sum, size_t size);

 private:
  void SumNode(Leaf leaf, size_t first, size_t last, uint32_t level, float* sum, size_t size);
  size_t EndOfNode(size_t first, size_t last, uint32_t level) const;

  Indices indices_;
  uint32_t levels_ = 0;         // above the leaves; 0 if there are fewer than two
  std::vector<float> partial_;  // one piece per level
};

}  // namespace lockstep::compute::internal

#endif  // LOCKSTEP_SERVER_COMPUTE_RADIX_TREE_H_
