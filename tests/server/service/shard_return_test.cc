// A shard that dies again and again, on real files: what its next life has to replay.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/mutex.h"
#include "server/service/shard_driver.h"
#include "tests/server/service/one_shard.h"

namespace lockstep::service {
namespace {

// Optimizers with state need every round since the checkpoint: nothing is forgotten without one.
v1::Install MakeAdamInstall(uint64_t generation, uint64_t resume) {
  v1::Install install = MakeInstall(generation, resume);
  v1::OptimizerConfig* optimizer = install.mutable_run()->mutable_optimizer();
  optimizer->set_optimizer("adam");
  optimizer->set_beta1(0.9);
  optimizer->set_beta2(0.999);
  optimizer->set_epsilon(1e-8);
  return install;
}

class ShardReturnTest : public ::testing::Test {
 protected:
  ShardReturnTest() : folders_{.data = absl::StrCat(::testing::TempDir(), "/", UnitName()), .checkpoint_folder = {}} {}
  ~ShardReturnTest() override { Die(); }
  static std::string UnitName() { return ::testing::UnitTest::GetInstance()->current_test_info()->name(); }

  // Comes back with what the life before left on the disk. How many rounds it had to replay.
  uint64_t Live() {
    absl::StatusOr<std::optional<RecoveredShard>> recovered =
        RecoverShard(storage::SystemFiles(), folders_, ShardIndex(0), {}, /*machine_bytes=*/uint64_t{1} << 40);
    EXPECT_EQ(recovered.status(), absl::OkStatus());
    const uint64_t replayed = recovered.ok() && *recovered ? (*recovered)->replayed : 0;
    driver_ = std::make_unique<ShardDriver>(
        ShardOptions{.shard = ShardIndex(0),
                     .self = Incarnation(kSelf),
                     .machine_bytes = uint64_t{1} << 40,
                     .files = &storage::SystemFiles(),
                     .folders = folders_},
        [this](v1::ShardMessage message) {
          MutexLock lock(&mutex_);
          answers_.push_back(std::move(message));
        },
        *std::move(recovered));
    stream_ = std::make_shared<ExchangeStream>(driver_.get());
    driver_->Welcome("run");
    return replayed;
  }
  // As kill -9 does it, between two calls to the disk.
  void Die() {
    if (driver_ == nullptr) return;
    driver_->StopWriting();
    stream_.reset();
    driver_.reset();
  }
  void Install(uint64_t generation, uint64_t resume) {
    driver_->Seal(MakeSeal(generation));
    driver_->Install(MakeAdamInstall(generation, resume));
    Await([&](const v1::ShardMessage& answer) {
      if (answer.installed().generation() != generation) return false;
      EXPECT_EQ(answer.installed().error(), "");
      return true;
    });
    Say(AttachFrame(generation, resume));
  }
  void Train(uint64_t generation, uint64_t first, uint64_t end) {
    for (uint64_t round = first; round < end; ++round) {
      for (uint32_t block = 0; block < kBlocks; ++block)
        Say(ContributionFrame(generation, round, block), BlockPayload());
      while (driver_->Report().next_round() <= round) absl::SleepFor(absl::Milliseconds(1));
    }
  }
  // Until such an answer has come, now or before.
  template <typename Matches>
  void Await(const Matches& matches) {
    const auto came = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return std::any_of(answers_.begin(), answers_.end(), matches);
    };
    MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&came));
  }
  // Until the journal goes on from that version, which no coordinator has heard of.
  void AwaitCompacted(uint64_t version) {
    std::optional<ShardBase> base;
    while (!base || !base->compacted || base->identity.version != Version(version)) {
      absl::SleepFor(absl::Milliseconds(1));
      base = *LoadShardBase(storage::SystemFiles(), folders_.data, *model_);
    }
    MutexLock lock(&mutex_);
    for (const v1::ShardMessage& answer : answers_) EXPECT_FALSE(answer.has_checkpoint());
  }

  const ShardFolders folders_;
  const std::unique_ptr<ShardModel> model_ =
      *ShardModel::Create(MakeAdamInstall(1, 0).run(), ShardIndex(0), /*machine_bytes=*/uint64_t{1} << 40);
  Mutex mutex_;
  std::vector<v1::ShardMessage> answers_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ShardDriver> driver_;
  std::shared_ptr<ExchangeStream> stream_;

 private:
  void Say(const v1::FrameHeader& header, const std::string& payload = "") {
    grpc::ByteBuffer message = payload.empty() ? wire::Encode(header) : wire::Encode(header, grpc::Slice(payload));
    driver_->OnFrame(stream_, message);
  }
};

// Its last round is tentative when it dies: nobody has heard whether it counts. No round is made in the second life,
// and nobody asks for a checkpoint.
TEST_F(ShardReturnTest, LongJournal_OfALifeWithoutARound_IsReplayedOnce) {
  EXPECT_EQ(Live(), 0u);
  Install(/*generation=*/1, /*resume=*/0);
  Train(1, 0, 20);
  Die();
  EXPECT_EQ(Live(), 20u);
  Install(/*generation=*/2, /*resume=*/20);
  AwaitCompacted(19);
  Die();
  EXPECT_EQ(Live(), 0u);
  Install(/*generation=*/3, /*resume=*/20);
  EXPECT_EQ(driver_->Report().next_round(), 20u);
}

TEST_F(ShardReturnTest, LongJournal_WhoseLastRoundIsUndone_IsShortenedToTheOneBefore) {
  Live();
  Install(/*generation=*/1, /*resume=*/0);
  Train(1, 0, 20);
  Die();
  Live();
  Install(/*generation=*/2, /*resume=*/19);
  AwaitCompacted(18);
  Train(2, 19, 21);
  Die();
  EXPECT_EQ(Live(), 3u) << "the round that was undone, and the two after version 18";
}

TEST_F(ShardReturnTest, LongJournal_OfNothingButUndoneRounds_IsLeft) {
  Live();
  for (uint64_t generation = 1; generation <= 10; ++generation) {
    Install(generation, /*resume=*/0);
    Train(generation, 0, 1);
  }
  Die();
  EXPECT_EQ(Live(), 10u);
  Install(/*generation=*/11, /*resume=*/0);
  EXPECT_EQ(driver_->Report().next_round(), 0u);
}

TEST_F(ShardReturnTest, ShortJournal_IsLeftToTheNextCheckpoint) {
  Live();
  Install(/*generation=*/1, /*resume=*/0);
  Train(1, 0, 4);
  Die();
  EXPECT_EQ(Live(), 4u);
  Install(/*generation=*/2, /*resume=*/4);
  Train(2, 4, 5);
  Die();
  EXPECT_FALSE(LoadShardBase(storage::SystemFiles(), folders_.data, *model_)->has_value());
}

}  // namespace
}  // namespace lockstep::service
