#include "common/ids.h"

#include <gtest/gtest.h>

#include <sstream>
#include <type_traits>

#include "absl/container/flat_hash_set.h"

namespace lockstep {
namespace {

// Neither an integer nor another kind of id turns into an id, nor back, unless the code says so.
template <class Id>
constexpr bool IsStrong() {
  return !std::is_convertible_v<typename Id::value_type, Id> && !std::is_convertible_v<Id, typename Id::value_type> &&
         !std::is_convertible_v<Id, bool> && !std::is_convertible_v<int, Id> &&
         std::is_constructible_v<Id, typename Id::value_type>;
}
static_assert(IsStrong<Rank>() && IsStrong<ShardIndex>() && IsStrong<BlockIndex>() && IsStrong<Slot>());
static_assert(IsStrong<Incarnation>() && IsStrong<Generation>() && IsStrong<Round>());

template <class From, class... To>
constexpr bool BecomesNone() {
  return !(std::is_constructible_v<To, From> || ...) && !(std::is_assignable_v<To&, From> || ...) &&
         !(std::is_constructible_v<From, To> || ...);
}
static_assert(BecomesNone<Rank, ShardIndex, BlockIndex, Slot, Incarnation, Generation, Round>());
static_assert(BecomesNone<ShardIndex, BlockIndex, Slot, Incarnation, Generation, Round>());
static_assert(BecomesNone<BlockIndex, Slot, Incarnation, Generation, Round>());
static_assert(BecomesNone<Generation, Incarnation, Round>());

template <class A, class B>
concept Comparable = requires(A a, B b) {
  a == b;
};
static_assert(Comparable<Rank, Rank> && !Comparable<Rank, ShardIndex> && !Comparable<Rank, uint32_t>);
static_assert(std::is_same_v<Round, Version>, "round r makes version r");

TEST(IdTest, Neighbours_OfAnId_AreOneApart) {
  EXPECT_EQ(Round(4).next(), Round(5));
  EXPECT_EQ(Round(4).previous(), Round(3));
  EXPECT_EQ(Rank().value(), 0u);
}

TEST(IdTest, Order_OfIds_IsThatOfTheirNumbers) {
  EXPECT_LT(Rank(2), Rank(10));
  EXPECT_LT((Member{Rank(1), Incarnation(9)}), (Member{Rank(2), Incarnation(1)}));
  EXPECT_LT((Member{Rank(1), Incarnation(1)}), (Member{Rank(1), Incarnation(2)}));
}

TEST(IdTest, Hash_OfEqualIds_IsEqual) {
  const absl::flat_hash_set<Incarnation> set = {Incarnation(7), Incarnation(8), Incarnation(7)};
  EXPECT_EQ(set.size(), 2u);
  EXPECT_TRUE(set.contains(Incarnation(8)));
}

TEST(IdTest, Print_AnyId_ShowsTheNumber) {
  std::ostringstream out;
  out << Rank(3) << " " << Incarnation(UINT64_MAX);
  EXPECT_EQ(out.str(), "3 18446744073709551615");
}

}  // namespace
}  // namespace lockstep
