#include "server/service/writing_pace.h"

#include <gtest/gtest.h>

namespace lockstep::service {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(100);

TEST(WritingPaceTest, EachRound_LetsOneShareBeWritten) {
  WritingPace pace;
  pace.Begin(100, kStart);
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
  pace.Begin(100, kStart);
  for (int round = 0; round < 10; ++round) pace.OnRound(kStart);
  pace.OnWritten(100);
  EXPECT_FALSE(pace.has_allowance());
}

TEST(WritingPaceTest, NoRound_NobodyToMakeWayFor) {
  WritingPace pace;
  pace.Begin(100, kStart);
  pace.OnRound(kStart + absl::Seconds(5));
  EXPECT_EQ(pace.free_at(), kStart + absl::Seconds(5) + WritingPace::kPatience);
}

TEST(WritingPaceTest, TinyModel_GoesOnAllTheSame) {
  WritingPace pace;
  pace.Begin(0, kStart);
  EXPECT_TRUE(pace.has_allowance());
}

}  // namespace
}  // namespace lockstep::service
