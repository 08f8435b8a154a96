#include "server/service/writing_pace.h"

#include <gtest/gtest.h>

namespace lockstep::service {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(100);

TEST(WritingPaceTest, EachRound_LetsOneShareBeWritten) {
  WritingPace pace;
  pace.Begin(100);
  int64_t written = 0;
  for (int round = 1; round <= 10; ++round) {
    while (pace.has_allowance()) {
      pace.OnWritten(30);
      written += 30;
    }
    // A piece may be larger than what is left: the next rounds' shares pay for it.
    EXPECT_GE(written, 100 * round);
    EXPECT_LT(written, 100 * round + 30);
    pace.OnRound(kStart);
  }
}

TEST(WritingPaceTest, UnusedShares_AreNotSavedUp) {
  WritingPace pace;
  pace.Begin(100);
  for (int round = 0; round < 10; ++round) pace.OnRound(kStart);
  pace.OnWritten(100);
  EXPECT_FALSE(pace.has_allowance());
}

TEST(WritingPaceTest, NoRoundForTwiceAsLongAsTheOneBefore_NobodyToMakeWayFor) {
  WritingPace pace;
  pace.Begin(100);
  EXPECT_LE(pace.free_at(), kStart) << "there has been no round at all";
  pace.OnRound(kStart);
  pace.OnRound(kStart + absl::Seconds(2));
  EXPECT_EQ(pace.free_at(), kStart + absl::Seconds(6));
  pace.OnRound(kStart + absl::Seconds(2) + absl::Milliseconds(1));
  EXPECT_EQ(pace.free_at(), kStart + absl::Seconds(2) + absl::Milliseconds(1) + WritingPace::kLeastPatience);
}

TEST(WritingPaceTest, TinyModel_GoesOnAllTheSame) {
  WritingPace pace;
  pace.Begin(0);
  EXPECT_TRUE(pace.has_allowance());
}

}  // namespace
}  // namespace lockstep::service
