#include "server/service/shard_model.h"

#include <gtest/gtest.h>

#include <string>

namespace lockstep::service {
namespace {

constexpr uint64_t kGigabyte = 1'000'000'000;

// 25 million parameters: 0.1 GB. Small, so that a check that lets it through does no harm.
v1::RunDescription InstallOf(const std::string& optimizer) {
  v1::RunDescription install;
  install.set_shards(1);
  install.set_workers(3);
  install.set_block_elements(1'000'000);
  v1::TensorSpec* tensor = install.mutable_model()->add_tensors();
  tensor->set_name("weight");
  tensor->add_shape(25'000'000);
  tensor->set_dtype(v1::DTYPE_F32);
  install.mutable_optimizer()->set_optimizer(optimizer);
  install.mutable_optimizer()->set_lr(0.1);
  install.mutable_optimizer()->set_beta1(0.9);
  install.mutable_optimizer()->set_beta2(0.999);
  install.mutable_optimizer()->set_epsilon(1e-8);
  install.mutable_optimizer()->set_schedule("constant");
  return install;
}

TEST(CheckFitsTest, Model_AsLargeAsTheMachine_Fits) {
  EXPECT_TRUE(CheckFits(1'000'000'000, compute::OptimizerKind::kSgd, 8 * kGigabyte).ok());
  EXPECT_TRUE(CheckFits(1'000'000'000, compute::OptimizerKind::kAdam, 20 * kGigabyte).ok());
}

TEST(CheckFitsTest, Sgd_OneByteTooMany_IsRefusedWithTheArithmetic) {
  const absl::Status status = CheckFits(1'000'000'000, compute::OptimizerKind::kSgd, 8 * kGigabyte - 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "the model does not fit: 4.0 GB of parameters x 2 (2 versions, 0 of optimizer state, 0 of gradient) = 8.0 "
            "GB, but this machine has 8.0 GB; use more shards");
}

TEST(ShardModelTest, Adam_TooLarge_IsRefusedWithTheArithmeticBeforeMemoryIsTaken) {
  const auto model = ShardModel::Create(InstallOf("adam"), ShardIndex(0), kGigabyte * 4 / 10);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(model.status().message(),
            "the model does not fit: 0.1 GB of parameters x 5 (2 versions, 2 of optimizer state, 1 of gradient) = 0.5 "
            "GB, but this machine has 0.4 GB; use more shards");
}

TEST(ShardModelTest, Model_OnMoreShards_IsCountedByItsPart) {
  v1::RunDescription install = InstallOf("adam");
  constexpr uint64_t kQuarter = 25'000'000 / 4 * sizeof(float) * 5;
  EXPECT_FALSE(ShardModel::Create(install, ShardIndex(0), 2 * kQuarter).ok());
  install.set_shards(5);  // 25 blocks: 5 on each
  const auto model = ShardModel::Create(install, ShardIndex(4), kQuarter);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->store.blocks(), 5u);
  EXPECT_EQ((*model)->ranks, 3u);
}

}  // namespace
}  // namespace lockstep::service
