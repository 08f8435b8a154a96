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

TEST(ShardModelTest, Adam_TooLarge_IsRefusedWithTheArithmeticBeforeMemoryIsTaken) {
  const auto model = ShardModel::Create(InstallOf("adam"), ShardIndex(0), kGigabyte * 4 / 10, /*durable=*/false);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(
      model.status().message(),
      "the model does not fit: this shard may need 1.23 GB = 200.0 MB versions + 200.0 MB optimizer state + 100.0 "
      "MB gradient + 100.0 MB slow streams + 200.0 MB readers + 300.0 MB contributions + 25.2 MB connections + 100.7 "
      "MB process, but has "
      "400.0 MB; use more shards, or give it more memory");
}

TEST(ShardModelTest, Model_OnMoreShards_IsCountedByItsPart) {
  v1::RunDescription install = InstallOf("adam");
  EXPECT_FALSE(ShardModel::Create(install, ShardIndex(0), kGigabyte).ok());
  install.set_shards(5);  // 25 blocks: 5 on each
  const auto model = ShardModel::Create(install, ShardIndex(4), kGigabyte);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->store.blocks(), 5u);
  EXPECT_EQ((*model)->ranks, 3u);
}

TEST(ShardModelTest, Checkpoints_AreCountedWhereTheyAreWritten) {
  v1::RunDescription install = InstallOf("adam");
  const auto durable = ShardModel::Create(install, ShardIndex(0), 10 * kGigabyte, /*durable=*/true);
  const auto fleeting = ShardModel::Create(install, ShardIndex(0), 10 * kGigabyte, /*durable=*/false);
  ASSERT_TRUE(durable.ok() && fleeting.ok());
  EXPECT_EQ((*durable)->memory.checkpoint, 4 * 100'000'000u);
  EXPECT_EQ((*fleeting)->memory.checkpoint, 0u);
}

}  // namespace
}  // namespace lockstep::service
