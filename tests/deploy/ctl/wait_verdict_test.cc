#include "deploy/ctl/wait_verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/deploy/ctl/statuses.h"

namespace lockstep::ctl {
namespace {

using ::testing::HasSubstr;

TEST(JudgeWait, ReachedVersion_IsComplete) {
  EXPECT_EQ(JudgeWait(HealthyRun(4, 2), 117), WaitVerdict::kComplete);
  EXPECT_EQ(JudgeWait(HealthyRun(4, 2), 5), WaitVerdict::kComplete);
  EXPECT_EQ(JudgeWait(DoneRun(4, 2), 117), WaitVerdict::kComplete);
}

TEST(JudgeWait, LaterVersion_IsNotYet) { EXPECT_EQ(JudgeWait(HealthyRun(4, 2), 118), WaitVerdict::kNotYet); }

TEST(JudgeWait, RunWithoutVersion_HasNotEvenVersionZero) {
  EXPECT_EQ(JudgeWait(FreshRun(4, 2), 0), WaitVerdict::kNotYet);
}

TEST(JudgeWait, EndedRun_IsNever) {
  EXPECT_EQ(JudgeWait(DoneRun(4, 2), 118), WaitVerdict::kNever);
  EXPECT_EQ(JudgeWait(FailedRun(4, 2), 118), WaitVerdict::kNever);
}

TEST(WhyNever, EndedRun_SaysHowFarItCame) {
  EXPECT_THAT(WhyNever(FailedRun(4, 2), 118),
              HasSubstr("version 118 will not come: run 3f9a2c01 failed at version 117. shard 1"));
}

TEST(WhyTimedOut, Straggler_IsInTheSummary) {
  const std::string why = WhyTimedOut(StragglerRun(4, 2, 3), 118, absl::Seconds(5));
  EXPECT_THAT(why, HasSubstr("within 5.0 s"));
  EXPECT_THAT(why, HasSubstr("waits for rank 3 (worker-3)"));
}

}  // namespace
}  // namespace lockstep::ctl
