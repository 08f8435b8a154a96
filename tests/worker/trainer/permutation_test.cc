#include "worker/trainer/permutation.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace lockstep::trainer {
namespace {

std::vector<uint32_t> Order(uint64_t key, uint32_t size) {
  const Permutation permutation(key, size);
  std::vector<uint32_t> order(size);
  for (uint32_t i = 0; i < size; ++i) order[i] = permutation(i);
  return order;
}

TEST(Permutation, EverySmallSize_IsABijection) {
  for (uint32_t size = 1; size <= 300; ++size) {
    const std::vector<uint32_t> order = Order(size * 77, size);
    const std::set<uint32_t> distinct(order.begin(), order.end());
    EXPECT_EQ(distinct.size(), size);
    EXPECT_EQ(*distinct.rbegin(), size - 1);
  }
}

TEST(Permutation, LargestSize_StaysInside) {
  const Permutation permutation(1, UINT32_MAX);
  std::set<uint32_t> seen;
  for (uint32_t i = 0; i < 10000; ++i) {
    seen.insert(permutation(UINT32_MAX - 1 - i));
    EXPECT_LT(permutation(i), UINT32_MAX);
  }
  EXPECT_EQ(seen.size(), 10000u);
}

TEST(Permutation, SameKey_SameOrder_OtherKey_OtherOrder) {
  EXPECT_EQ(Order(5, 1000), Order(5, 1000));
  EXPECT_NE(Order(5, 1000), Order(6, 1000));
}

// Part of the contract: a mixed fleet of old and new binaries must draw the same samples.
TEST(Permutation, Values_NeverChange) {
  EXPECT_EQ(Order(42, 10), (std::vector<uint32_t>{2, 4, 1, 0, 8, 3, 5, 7, 6, 9}));
}

// Tenths of the positions by tenths of the elements: each of the 100 cells gets its fair share.
// Chi-squared with 81 degrees of freedom stays below 140 with probability 0.9999.
TEST(Permutation, Order_LooksUniform) {
  constexpr uint32_t kSize = 60000;
  for (uint64_t key = 0; key < 5; ++key) {
    std::vector<double> cells(100);
    const std::vector<uint32_t> order = Order(Mix64(key), kSize);
    for (uint32_t i = 0; i < kSize; ++i) {
      cells[i / (kSize / 10) * 10 + order[i] / (kSize / 10)] += 1;
    }
    double chi_squared = 0;
    for (double count : cells) chi_squared += (count - 600) * (count - 600) / 600;
    EXPECT_LT(chi_squared, 140);
    EXPECT_GT(chi_squared, 40);
  }
}

}  // namespace
}  // namespace lockstep::trainer
