#include "server/service/optimizer_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace lockstep::service {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

v1::OptimizerConfig Good() {
  v1::OptimizerConfig config;
  config.set_optimizer("adamw");
  config.set_lr(0.25);
  config.set_momentum(0.8);
  config.set_beta1(0.7);
  config.set_beta2(0.95);
  config.set_epsilon(1e-6);
  config.set_weight_decay(0.01);
  config.set_schedule("cosine");
  config.set_warmup_rounds(5);
  config.set_schedule_step_rounds(7);
  config.set_schedule_gamma(0.3);
  config.set_schedule_total_rounds(100);
  config.set_schedule_min_lr(0.001);
  return config;
}

void ExpectRefused(const v1::OptimizerConfig& config, const ::testing::Matcher<std::string>& message) {
  const absl::Status status = FromProto(config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), message);
}

TEST(OptimizerConfigTest, Config_Whole_SetsEveryOption) {
  const auto result = FromProto(Good());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->optimizer.kind, compute::OptimizerKind::kAdamW);
  EXPECT_EQ(result->optimizer.lr, 0.25);
  EXPECT_EQ(result->optimizer.momentum, 0.8);
  EXPECT_EQ(result->optimizer.beta1, 0.7);
  EXPECT_EQ(result->optimizer.beta2, 0.95);
  EXPECT_EQ(result->optimizer.epsilon, 1e-6);
  EXPECT_EQ(result->optimizer.weight_decay, 0.01);
  EXPECT_EQ(result->schedule.kind, compute::ScheduleKind::kCosine);
  EXPECT_EQ(result->schedule.warmup_rounds, 5u);
  EXPECT_EQ(result->schedule.step_rounds, 7u);
  EXPECT_EQ(result->schedule.gamma, 0.3);
  EXPECT_EQ(result->schedule.total_rounds, 100u);
  EXPECT_EQ(result->schedule.min_lr, 0.001);
}

TEST(OptimizerConfigTest, Optimizer_Unknown_ListsTheNames) {
  v1::OptimizerConfig config = Good();
  config.set_optimizer("sdg");
  ExpectRefused(config, AllOf(HasSubstr("sdg"), HasSubstr("adagrad"), HasSubstr("aggregate")));
}

TEST(OptimizerConfigTest, Schedule_Unknown_ListsTheNames) {
  v1::OptimizerConfig config = Good();
  config.set_schedule("linear");
  ExpectRefused(config, AllOf(HasSubstr("linear"), HasSubstr("cosine")));
}

TEST(OptimizerConfigTest, Numbers_OutOfRange_AreRefused) {
  v1::OptimizerConfig config = Good();
  config.set_lr(std::numeric_limits<double>::quiet_NaN());
  ExpectRefused(config, HasSubstr("lr"));
  config = Good();
  config.set_beta2(1);
  ExpectRefused(config, AllOf(HasSubstr("beta2"), HasSubstr("1")));
  config = Good();
  config.set_schedule_total_rounds(5);
  ExpectRefused(config, HasSubstr("5"));
}

TEST(OptimizerConfigTest, Message_Empty_IsRefused) { ExpectRefused(v1::OptimizerConfig(), HasSubstr("sgd")); }

}  // namespace
}  // namespace lockstep::service
