// A shard that dies again and again, on real files: what its next life has to replay.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
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

using ::testing::ElementsAre;
using ::testing::IsEmpty;

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
        RecoverShard(storage::SystemFiles(), folders_, shard_, {}, /*machine_bytes=*/uint64_t{1} << 40);
    EXPECT_EQ(recovered.status(), absl::OkStatus());
    const uint64_t replayed = recovered.ok() && *recovered ? (*recovered)->replayed : 0;
    if (recovered.ok() && *recovered) values_ = ValuesOf((*recovered)->model->store);
    driver_ = std::make_unique<ShardDriver>(
        ShardOptions{.shard = shard_,
                     .self = Incarnation(kSelf),
                     .machine_bytes = uint64_t{1} << 40,
                     .files = &storage::SystemFiles(),
                     .folders = folders_,
                     .durability = durability_},
        [this](v1::ShardMessage message) {
          MutexLock lock(&mutex_);
          answers_.push_back(std::move(message));
        },
        *std::move(recovered));
    stream_ = std::make_shared<ExchangeStream>(driver_.get());
    driver_->Welcome("run");
    return replayed;
  }
  // Between two calls to the disk, and not within a file. (tests/chaos kills in earnest.)
  void Die() {
    if (driver_ == nullptr) return;
    driver_->StopWriting();
    stream_.reset();
    driver_.reset();
  }
  void Install(uint64_t generation, uint64_t resume, const std::optional<v1::RestoreSource>& restore = std::nullopt) {
    driver_->Seal(MakeSeal(generation));
    v1::Install install = MakeAdamInstall(generation, resume);
    install.mutable_run()->set_shards(shards_);
    if (restore) *install.mutable_restore() = *restore;
    driver_->Install(install);
    Await([&](const v1::ShardMessage& answer) {
      if (answer.installed().generation() != generation) return false;
      EXPECT_EQ(answer.installed().error(), "");
      return true;
    });
    Say(AttachFrame(generation, resume));
  }
  void Train(uint64_t generation, uint64_t first, uint64_t end) {
    for (uint64_t round = first; round < end; ++round) {
      v1::FrameHeader empty = ContributionFrame(generation, round, 0);
      empty.set_kind(v1::FrameHeader::EMPTY_CONTRIBUTION);
      if (shards_ > 1) Say(empty);
      for (uint32_t block = 0; block < kBlocks && shards_ == 1; ++block)
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
  void TakeCheckpoint(uint64_t version) {
    v1::TakeCheckpoint command;
    command.set_version(version);
    driver_->TakeCheckpoint(command);
  }
  // Until the shard has said so.
  void AwaitWritten(uint64_t version) {
    Await([&](const v1::ShardMessage& answer) {
      return answer.checkpoint().has_written() && answer.checkpoint().written().version() == version;
    });
  }
  // What was answered.
  void Forget() {
    MutexLock lock(&mutex_);
    answers_.clear();
  }
  // Until the journal goes on from that version, which no coordinator has heard of.
  void AwaitCompacted(uint64_t version) {
    std::optional<ShardBase> base;
    while (!base || !base->compacted || base->identity.version != Version(version)) {
      absl::SleepFor(absl::Milliseconds(1));
      base = *LoadShardBase(storage::SystemFiles(), folders_.data, *model_);
    }
    MutexLock lock(&mutex_);
    for (const v1::ShardMessage& answer : answers_) {
      EXPECT_NE(answer.checkpoint().written().version(), version) << "nobody asked";
    }
  }

  static std::vector<float> ValuesOf(storage::BlockStore& store) {
    std::vector<float> values;
    std::vector<std::vector<float>> state;
    for (uint32_t block = 0; block < kBlocks; ++block) {
      const storage::BlockSnapshot snapshot = store.Snapshot(Slot(block));
      values.insert(values.end(), snapshot.parameters().begin(), snapshot.parameters().end());
      snapshot.WriteState(state);
      for (const std::vector<float>& array : state) values.insert(values.end(), array.begin(), array.end());
    }
    return values;
  }
  static std::vector<std::string> FilesIn(const std::string& folder) {
    std::vector<std::string> files;
    if (!std::filesystem::exists(folder)) return files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file()) files.push_back(std::filesystem::relative(entry.path(), folder));
    }
    return files;
  }

  const ShardFolders folders_;
  // The only one; or, without contents, one more than there are blocks.
  ShardIndex shard_{0};
  uint32_t shards_ = 1;
  core::Durability durability_ = core::Durability::kJournal;
  const std::unique_ptr<ShardModel> model_ =
      *ShardModel::Create(MakeAdamInstall(1, 0).run(), ShardIndex(0), /*machine_bytes=*/uint64_t{1} << 40);
  Mutex mutex_;
  std::vector<v1::ShardMessage> answers_ ABSL_GUARDED_BY(mutex_);
  std::vector<float> values_;  // parameters and state that the newest life came back with
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
  const std::vector<float> replayed = values_;
  Install(/*generation=*/2, /*resume=*/20);
  AwaitCompacted(19);
  Die();
  EXPECT_EQ(Live(), 0u);
  EXPECT_EQ(values_, replayed) << "parameters and state, bit for bit";
  EXPECT_THAT(values_, ::testing::SizeIs(kBlocks * 2 * 3));
  Install(/*generation=*/3, /*resume=*/20);
  EXPECT_EQ(driver_->Report().next_round(), 20u);
}

TEST_F(ShardReturnTest, LongJournals_LifeAfterLife_LeaveOneFile) {
  Live();
  Install(/*generation=*/1, /*resume=*/0);
  Train(1, 0, 20);
  for (uint64_t generation = 2; generation < 5; ++generation) {
    const uint64_t resume = (generation - 1) * 20;
    Die();
    EXPECT_EQ(Live(), 20u);
    Install(generation, resume);
    AwaitCompacted(resume - 1);
    Train(generation, resume, resume + 20);
  }
  Die();
  EXPECT_THAT(FilesIn(folders_.compacted()), ElementsAre("version-0000000059/shard-0-of-1.safetensors"));
}

TEST_F(ShardReturnTest, CompactedJournal_GoesWhenAPartOfACheckpointIsWritten) {
  Live();
  Install(/*generation=*/1, /*resume=*/0);
  Train(1, 0, 20);
  Die();
  Live();
  Install(/*generation=*/2, /*resume=*/20);
  AwaitCompacted(19);
  Die();
  Live();
  Install(/*generation=*/3, /*resume=*/20);
  TakeCheckpoint(24);
  Train(3, 20, 26);
  AwaitWritten(24);
  Die();
  EXPECT_THAT(FilesIn(folders_.compacted()), IsEmpty());
  EXPECT_THAT(FilesIn(folders_.checkpoints()), ElementsAre("version-0000000024/shard-0-of-1.safetensors"));
  EXPECT_EQ(Live(), 1u);
}

// Other shards have died with theirs, and the coordinator asks for it again.
TEST_F(ShardReturnTest, PartOfACheckpoint_IsStillThereWhenTheJournalWasCompacted) {
  Live();
  Install(/*generation=*/1, /*resume=*/0);
  TakeCheckpoint(5);
  Train(1, 0, 20);
  AwaitWritten(5);
  Die();
  EXPECT_EQ(Live(), 14u);
  Install(/*generation=*/2, /*resume=*/20);
  AwaitCompacted(19);
  Forget();
  TakeCheckpoint(5);
  AwaitWritten(5);
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

// All go back to a checkpoint that is older than what this shard's journal was compacted to.
TEST_F(ShardReturnTest, RollBack_BehindACompactedJournal_LeavesNothingOfIt) {
  Live();
  Install(/*generation=*/1, /*resume=*/0);
  TakeCheckpoint(5);
  Train(1, 0, 20);
  AwaitWritten(5);
  const ShardBase part = **LoadShardBase(storage::SystemFiles(), folders_.data, *model_);
  ASSERT_EQ(storage::WriteManifest(storage::SystemFiles(), folders_.checkpoints(),
                                   {.identity = part.identity, .model = model_->spec, .files = {part.file}}),
            absl::OkStatus());
  Die();
  Live();
  Install(/*generation=*/2, /*resume=*/20);
  AwaitCompacted(19);
  v1::RestoreSource source;
  source.set_kind(v1::RestoreSource::OWN);
  source.set_version(5);
  Install(/*generation=*/3, /*resume=*/6, source);
  EXPECT_EQ(driver_->Report().next_round(), 6u);
  Die();
  EXPECT_THAT(FilesIn(folders_.compacted()), IsEmpty());
  EXPECT_EQ(Live(), 0u);
  Install(/*generation=*/4, /*resume=*/6);
  EXPECT_EQ(driver_->Report().next_round(), 6u);
}

// Nothing holds its rounds up: each contribution commits a version and completes the next one at once.
TEST_F(ShardReturnTest, PartOfAShardWithoutBlocks_IsOfTheVersionThatWasNamed) {
  shard_ = ShardIndex(kBlocks);
  shards_ = kBlocks + 1;
  durability_ = core::Durability::kCheckpoint;
  Live();
  Install(/*generation=*/1, /*resume=*/0);
  TakeCheckpoint(3);
  Train(1, 0, 8);
  Await([](const v1::ShardMessage& answer) { return answer.has_checkpoint(); });
  MutexLock lock(&mutex_);
  EXPECT_EQ(answers_.back().checkpoint().written().version(), 3u);
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
