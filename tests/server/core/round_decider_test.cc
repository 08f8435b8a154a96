// The one decision per round, and what ranks are given.
#include <gtest/gtest.h>

#include "server/core/round_policy.h"

namespace lockstep::core {
namespace {

const std::vector<Member> kThree = {{Rank(0), Incarnation(10)}, {Rank(1), Incarnation(11)}, {Rank(2), Incarnation(12)}};
const absl::Time kStart = absl::UnixEpoch();

std::vector<uint32_t> Ranks(const std::optional<RoundDecider::Decision>& decision) {
  std::vector<uint32_t> ranks;
  if (decision) {
    for (Rank rank : decision->participants) ranks.push_back(rank.value());
  }
  return ranks;
}

RoundDecider Quorum(uint32_t contributors) {
  RoundDecider decider({.kind = RoundPolicy::Kind::kQuorum, .contributors = contributors}, 2);
  decider.Begin(Generation(1), Round(5), kThree);
  return decider;
}

TEST(RoundDeciderTest, Quorum_WholeOnEveryShard_FirstOnesMakeTheRound) {
  RoundDecider decider = Quorum(2);
  EXPECT_FALSE(decider.Whole(ShardIndex(0), Rank(0), Round(5), kStart));
  EXPECT_FALSE(decider.Whole(ShardIndex(0), Rank(1), Round(5), kStart));
  EXPECT_FALSE(decider.Whole(ShardIndex(1), Rank(2), Round(5), kStart));
  EXPECT_FALSE(decider.Whole(ShardIndex(0), Rank(2), Round(5), kStart));
  const auto decision = decider.Whole(ShardIndex(1), Rank(0), Round(5), kStart);
  EXPECT_EQ(Ranks(decision), (std::vector<uint32_t>{0, 2})) << "rank 1 is whole on one shard only";
  EXPECT_EQ(decider.round(), Round(6));
}

TEST(RoundDeciderTest, Quorum_SameReportTwice_CountsOnce) {
  RoundDecider decider = Quorum(1);
  EXPECT_FALSE(decider.Whole(ShardIndex(0), Rank(0), Round(5), kStart));
  EXPECT_FALSE(decider.Whole(ShardIndex(0), Rank(0), Round(5), kStart));
  EXPECT_FALSE(decider.Whole(ShardIndex(1), Rank(0), Round(4), kStart)) << "of a round that is over";
  EXPECT_FALSE(decider.Whole(ShardIndex(1), Rank(7), Round(5), kStart)) << "no member";
}

TEST(RoundDeciderTest, Quorum_LargerThanTheGeneration_NeedsAllOfIt) {
  RoundDecider decider({.kind = RoundPolicy::Kind::kQuorum, .contributors = 3}, 1);
  decider.Begin(Generation(1), Round(5), {kThree[0], kThree[2]});
  EXPECT_FALSE(decider.Whole(ShardIndex(0), Rank(0), Round(5), kStart));
  EXPECT_EQ(Ranks(decider.Whole(ShardIndex(0), Rank(2), Round(5), kStart)), (std::vector<uint32_t>{0, 2}));
}

TEST(RoundDeciderTest, Deadline_Passes_ThoseThatAreWholeMakeTheRound) {
  RoundDecider decider({.kind = RoundPolicy::Kind::kDeadline, .contributors = 1, .deadline = absl::Milliseconds(500)},
                       1);
  decider.Begin(Generation(1), Round(5), kThree);
  EXPECT_EQ(decider.wakes_at(), absl::InfiniteFuture());
  EXPECT_FALSE(decider.Whole(ShardIndex(0), Rank(1), Round(5), kStart));
  EXPECT_EQ(decider.wakes_at(), kStart + absl::Milliseconds(500));
  EXPECT_FALSE(decider.Tick(kStart + absl::Milliseconds(499)));
  EXPECT_EQ(Ranks(decider.Tick(kStart + absl::Milliseconds(500))), (std::vector<uint32_t>{1}));
}

TEST(RoundDeciderTest, Deadline_TooFew_WaitsForTheFewest) {
  RoundDecider decider({.kind = RoundPolicy::Kind::kDeadline, .contributors = 2, .deadline = absl::Milliseconds(500)},
                       1);
  decider.Begin(Generation(1), Round(5), kThree);
  EXPECT_FALSE(decider.Whole(ShardIndex(0), Rank(1), Round(5), kStart));
  EXPECT_FALSE(decider.Tick(kStart + absl::Hours(1)));
  EXPECT_EQ(Ranks(decider.Whole(ShardIndex(0), Rank(0), Round(5), kStart + absl::Hours(1))),
            (std::vector<uint32_t>{0, 1}));
}

TEST(RoundDeciderTest, RankWaits_OnSeveralShards_IsGivenOneVersion) {
  RoundDecider decider = Quorum(1);
  decider.Whole(ShardIndex(0), Rank(0), Round(5), kStart);
  ASSERT_TRUE(decider.Whole(ShardIndex(1), Rank(0), Round(5), kStart));
  const auto gift = decider.Waits(Rank(2), Version(4));
  ASSERT_TRUE(gift);
  EXPECT_EQ(gift->version, Version(5));
  EXPECT_FALSE(decider.Waits(Rank(2), Version(4))) << "what the other shard says is answered already";
  EXPECT_FALSE(decider.Waits(Rank(0), Version(4))) << "it took part: the version is on its way";
}

TEST(RoundDeciderTest, AfterEnd_NothingIsDecided) {
  RoundDecider decider = Quorum(1);
  decider.Whole(ShardIndex(0), Rank(0), Round(5), kStart);
  decider.End();
  EXPECT_EQ(decider.generation(), Generation(0));
  EXPECT_FALSE(decider.Tick(kStart + absl::Hours(1)));
}

TEST(CheckPolicyTest, MoreContributorsThanWorkers_IsRefusedWithNumbers) {
  const absl::Status status = CheckPolicy({.kind = RoundPolicy::Kind::kQuorum, .contributors = 4}, 3);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("quorum(4): expected 1 to 3"), std::string::npos) << status;
}

}  // namespace
}  // namespace lockstep::core
