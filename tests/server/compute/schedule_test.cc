#include "server/compute/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "tests/server/compute/golden.h"

namespace lockstep::compute {
namespace {

using ::testing::HasSubstr;

ScheduleOptions OptionsFrom(const nlohmann::json& json) {
  ScheduleOptions options;
  options.kind = ParseScheduleKind(json.at("kind").get<std::string>()).value();
  options.warmup_rounds = json.value("warmup_rounds", options.warmup_rounds);
  options.step_rounds = json.value("step_rounds", options.step_rounds);
  options.gamma = json.value("gamma", options.gamma);
  options.total_rounds = json.value("total_rounds", options.total_rounds);
  options.min_lr = json.value("min_lr", options.min_lr);
  return options;
}

TEST(LearningRate, EveryGoldenSchedule_EqualsPyTorch) {
  const nlohmann::json golden = LoadGolden();
  ASSERT_EQ(golden.at("schedules").size(), 6u);
  for (const nlohmann::json& schedule : golden.at("schedules")) {
    SCOPED_TRACE(schedule.at("options").dump());
    const ScheduleOptions options = OptionsFrom(schedule.at("options"));
    ASSERT_TRUE(Validate(options).ok());
    const auto rates = schedule.at("rates").get<std::vector<double>>();
    ASSERT_GE(rates.size(), 30u);
    for (size_t i = 0; i < rates.size(); ++i) {
      EXPECT_NEAR(LearningRate(options, schedule.at("base_lr"), i + 1) / rates[i], 1, 1e-11) << "version " << i + 1;
    }
  }
}

TEST(LearningRate, Constant_IsTheBaseFromVersionOne) {
  EXPECT_EQ(LearningRate({}, 0.3, 1), 0.3);
  EXPECT_EQ(LearningRate({}, 0.3, std::numeric_limits<uint64_t>::max()), 0.3);
}

TEST(LearningRate, WarmUp_ReachesTheBaseRightAfterIt) {
  const ScheduleOptions options = {.warmup_rounds = 4};
  EXPECT_DOUBLE_EQ(LearningRate(options, 1, 1), 0.2);
  EXPECT_DOUBLE_EQ(LearningRate(options, 1, 4), 0.8);
  EXPECT_EQ(LearningRate(options, 1, 5), 1);
}

TEST(LearningRate, Step_DropsEveryStepRounds) {
  const ScheduleOptions options = {.kind = ScheduleKind::kStep, .step_rounds = 2, .gamma = 0.5};
  EXPECT_EQ(LearningRate(options, 1, 2), 1);
  EXPECT_EQ(LearningRate(options, 1, 3), 0.5);
  EXPECT_EQ(LearningRate(options, 1, 5), 0.25);
}

TEST(LearningRate, CosinePastItsEnd_StaysAtTheMinimum) {
  const ScheduleOptions options = {.kind = ScheduleKind::kCosine, .total_rounds = 10, .min_lr = 0.001};
  EXPECT_GT(LearningRate(options, 0.1, 10), 0.001);
  EXPECT_EQ(LearningRate(options, 0.1, 11), 0.001);
  EXPECT_EQ(LearningRate(options, 0.1, 15), 0.001);
}

TEST(LearningRateDeathTest, VersionZero_Aborts) { EXPECT_DEATH(LearningRate({}, 0.1, 0), "first version"); }

TEST(ScheduleKind, EveryName_ParsesBack) {
  for (const auto kind : {ScheduleKind::kConstant, ScheduleKind::kStep, ScheduleKind::kCosine}) {
    EXPECT_EQ(ParseScheduleKind(ScheduleKindName(kind)).value(), kind);
  }
}

TEST(ScheduleKind, UnknownName_IsToldTheKnownOnes) {
  EXPECT_EQ(ParseScheduleKind("linear").status().message(),
            "schedule: expected one of constant, step, cosine, got \"linear\"");
}

TEST(ScheduleValidate, SettingsOutOfRange_AreNamed) {
  EXPECT_THAT(Validate({.kind = ScheduleKind::kStep, .step_rounds = 0}).message(),
              HasSubstr("step_rounds: expected at least 1, got 0"));
  EXPECT_THAT(Validate({.kind = ScheduleKind::kStep, .gamma = -1}).message(), HasSubstr("gamma"));
  EXPECT_THAT(Validate({.kind = ScheduleKind::kCosine, .warmup_rounds = 5, .total_rounds = 5}).message(),
              HasSubstr("total_rounds: expected more than the 5 warmup_rounds, got 5"));
  EXPECT_THAT(Validate({.kind = ScheduleKind::kCosine, .total_rounds = 5, .min_lr = -1}).message(),
              HasSubstr("min_lr"));
}

}  // namespace
}  // namespace lockstep::compute
