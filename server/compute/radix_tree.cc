#include "server/compute/radix_tree.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "server/compute/reduce_kernels.h"
#include "server/compute/require.h"

namespace lockstep::compute::internal {
namespace {

constexpr uint32_t kBitsPerLevel = 3;  // radix 8

// The number, on its level, of the node above leaf `index`. Level 0 holds the leaves.
uint64_t NodeAbove(uint64_t index, uint32_t level) { return index >> (kBitsPerLevel * level); }

// How many levels up a single node covers both leaves.
uint32_t LevelsToMeet(uint32_t left, uint32_t right) {
  uint32_t levels = 0;
  while (NodeAbove(left, levels) != NodeAbove(right, levels)) {
    ++levels;
  }
  return levels;
}

}  // namespace

RadixTree::RadixTree(Indices indices) : indices_(std::move(indices)) {
  Require(std::is_sorted(indices_.begin(), indices_.end(), std::less_equal<>()),
          "group indices must be strictly increasing");
  if (!indices_.empty()) {
    levels_ = LevelsToMeet(indices_.front(), indices_.back());
  }
  partial_.resize(levels_ * kPieceSize);
}

void RadixTree::Sum(Leaf leaf, float* sum, size_t size) {
  if (indices_.empty()) {
    std::fill_n(sum, size, 0.0f);
    return;
  }
  const size_t piece = levels_ == 0 ? size : kPieceSize;
  for (size_t done = 0; done < size; done += piece) {
    SumNode(leaf, 0, indices_.size(), levels_, sum + done, std::min(piece, size - done));
  }
}

void RadixTree::SumNode(Leaf leaf, size_t first, size_t last, uint32_t level, float* sum, size_t size) {
  if (level == 0) {
    leaf(first, sum, size);
    return;
  }
  const uint32_t below = level - 1;
  size_t end = EndOfNode(first, last, below);
  SumNode(leaf, first, end, below, sum, size);
  float* const partial = partial_.data() + below * kPieceSize;
  for (size_t begin = end; begin < last; begin = end) {
    end = EndOfNode(begin, last, below);
    SumNode(leaf, begin, end, below, partial, size);
    AddTo(partial, sum, size);
  }
}

size_t RadixTree::EndOfNode(size_t first, size_t last, uint32_t level) const {
  const uint64_t node = NodeAbove(indices_[first], level);
  size_t end = first + 1;
  while (end < last && NodeAbove(indices_[end], level) == node) {
    ++end;
  }
  return end;
}

}  // namespace lockstep::compute::internal
