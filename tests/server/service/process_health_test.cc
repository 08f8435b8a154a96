#include "server/service/process_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::service {
namespace {

using ::testing::HasSubstr;

constexpr absl::Time kStart = absl::UnixEpoch();

TEST(ProcessHealthTest, ProcessThatIsStarting_IsLiveButNotReady) {
  ProcessHealth health;
  const v1::HealthReply reply = health.Describe("", "at ps-0:7700", kStart);
  EXPECT_TRUE(reply.started());
  EXPECT_TRUE(reply.live());
  EXPECT_FALSE(reply.ready());
  EXPECT_THAT(reply.message(), HasSubstr("ps-0:7700"));
}

TEST(ProcessHealthTest, LostRegistration_IsNotReadyAnyMore) {
  ProcessHealth health;
  health.SetRegistered(true);
  EXPECT_TRUE(health.Describe("run", "", kStart).ready());
  health.SetRegistered(false);
  EXPECT_FALSE(health.Describe("run", "", kStart).ready());
}

TEST(ProcessHealthTest, ProcessThatStops_IsLiveButNotReady) {
  ProcessHealth health;
  health.SetRegistered(true);
  health.SetStopping();
  const v1::HealthReply reply = health.Describe("run", "", kStart);
  EXPECT_TRUE(reply.live());
  EXPECT_FALSE(reply.ready());
  EXPECT_THAT(reply.message(), HasSubstr("stopping"));
}

TEST(ProcessHealthTest, LoopThatStandsStill_IsNotLive_AndIsAgainWhenItTurns) {
  ProcessHealth health;
  health.NoteTurn(kStart);
  EXPECT_TRUE(health.Describe("run", "", kStart + ProcessHealth::kLoopPatience).live());
  const absl::Time late = kStart + ProcessHealth::kLoopPatience + absl::Milliseconds(100);
  EXPECT_FALSE(health.Describe("run", "", late).live());
  EXPECT_THAT(health.Describe("run", "", late).message(), HasSubstr("10.1s"));
  health.NoteTurn(late);
  EXPECT_TRUE(health.Describe("run", "", late).live());
}

TEST(ProcessHealthTest, FinishedRun_IsReadyAndSaysSo) {
  ProcessHealth health;
  health.SetRegistered(true);
  health.SetDone();
  const v1::HealthReply reply = health.Describe("run", "", kStart);
  EXPECT_TRUE(reply.ready());
  EXPECT_THAT(reply.message(), HasSubstr("done"));
}

}  // namespace
}  // namespace lockstep::service
