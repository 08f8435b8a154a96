#include "server/compute/optimizer_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace lockstep::compute {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr OptimizerKind kAll[] = {
    OptimizerKind::kAggregate, OptimizerKind::kSgd,   OptimizerKind::kMomentum, OptimizerKind::kNesterov,
    OptimizerKind::kAdam,      OptimizerKind::kAdamW, OptimizerKind::kAdagrad,
};

TEST(OptimizerKind, EveryName_ParsesBack) {
  for (const OptimizerKind kind : kAll) {
    EXPECT_EQ(ParseOptimizerKind(OptimizerKindName(kind)).value(), kind);
  }
}

TEST(OptimizerKind, UnknownName_IsToldTheKnownOnes) {
  EXPECT_EQ(ParseOptimizerKind("Adam").status().message(),
            "optimizer: expected one of aggregate, sgd, momentum, nesterov, adam, adamw, adagrad, "
            "got \"Adam\"");
}

TEST(OptimizerValidate, Defaults_AreValid) {
  for (const OptimizerKind kind : kAll) {
    EXPECT_TRUE(Validate(DefaultOptions(kind)).ok()) << OptimizerKindName(kind);
  }
}

TEST(OptimizerValidate, SettingsOutOfRange_AreNamed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(Validate({.lr = -1}).message(), "optimizer lr: expected a finite number >= 0, got -1");
  EXPECT_THAT(Validate({.lr = nan}).message(), HasSubstr("lr"));
  EXPECT_THAT(Validate({.weight_decay = -0.1}).message(), HasSubstr("weight_decay"));
  EXPECT_THAT(Validate({.kind = OptimizerKind::kAggregate, .weight_decay = 0.1}).message(),
              HasSubstr("weight_decay: expected 0 with aggregate"));
  EXPECT_THAT(Validate({.kind = OptimizerKind::kMomentum, .momentum = 1.5}).message(),
              HasSubstr("momentum: expected 0 <= momentum <= 1, got 1.5"));
  EXPECT_THAT(Validate({.kind = OptimizerKind::kNesterov, .momentum = 0}).message(), HasSubstr("nesterov"));
  EXPECT_THAT(Validate({.kind = OptimizerKind::kAdam, .beta1 = 1}).message(), HasSubstr("beta1"));
  EXPECT_THAT(Validate({.kind = OptimizerKind::kAdamW, .beta2 = nan}).message(), HasSubstr("beta2"));
  EXPECT_THAT(Validate({.kind = OptimizerKind::kAdagrad, .epsilon = 1e-60}).message(), HasSubstr("epsilon"));
}

TEST(OptimizerValidate, SettingsThatTheKindDoesNotUse_AreIgnored) {
  EXPECT_TRUE(Validate({.kind = OptimizerKind::kSgd, .momentum = 7, .epsilon = 0}).ok());
}

TEST(StateSlots, Names_ArePyTorchs) {
  EXPECT_THAT(StateSlotNames(OptimizerKind::kAggregate), IsEmpty());
  EXPECT_THAT(StateSlotNames(OptimizerKind::kSgd), IsEmpty());
  EXPECT_THAT(StateSlotNames(OptimizerKind::kNesterov), ElementsAre("momentum_buffer"));
  EXPECT_THAT(StateSlotNames(OptimizerKind::kAdamW), ElementsAre("exp_avg", "exp_avg_sq"));
  EXPECT_THAT(StateSlotNames(OptimizerKind::kAdagrad), ElementsAre("sum"));
}

}  // namespace
}  // namespace lockstep::compute
