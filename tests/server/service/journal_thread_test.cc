// The journal's thread on a disk that fills up, fails and stands still, and the coordinator's file on one that loses
// bits.
#include "server/service/journal_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/service/coordinator_store.h"
#include "tests/storage/faulty_files.h"
#include "tests/testing/seeds.h"

namespace lockstep::service {
namespace {

using ::lockstep::testing::FaultyFiles;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kSeed = 1;
constexpr size_t kElements = 5000;

// What has become durable, in order.
class Heard : public JournalThread::Events {
 public:
  void OnRoundJournaled(Generation, Version version) override { Add(absl::StrCat("round ", version.value())); }
  void OnInstallJournaled(Generation generation) override { Add(absl::StrCat("install ", generation.value())); }

  // Blocks until so much has been heard.
  std::vector<std::string> Await(size_t count) {
    MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return heard_.size() >= count; };
    mutex_.Await(absl::Condition(&there));
    return heard_;
  }
  size_t size() {
    MutexLock lock(&mutex_);
    return heard_.size();
  }

 private:
  void Add(std::string what) {
    MutexLock lock(&mutex_);
    heard_.push_back(std::move(what));
  }
  Mutex mutex_;
  std::vector<std::string> heard_ ABSL_GUARDED_BY(mutex_);
};

// What a journal says when it is read back.
class Records : public storage::JournalVisitor {
 public:
  absl::Status OnIdentity(const storage::JournalIdentity&) override { return absl::OkStatus(); }
  absl::Status OnRound(const storage::RoundRecord& round, const storage::BlockReader& read) override {
    std::vector<float> values(kElements);
    if (absl::Status status = read(Slot(0), absl::MakeSpan(values)); !status.ok()) return status;
    const bool whole = std::all_of(values.begin(), values.end(),
                                   [&](float value) { return value == static_cast<float>(round.version.value()); });
    records_.push_back(absl::StrCat("round ", round.version.value(), whole ? "" : " of other values"));
    return absl::OkStatus();
  }
  absl::Status OnInstall(const storage::InstallRecord& install) override {
    records_.push_back(absl::StrCat("install ", install.generation.value()));
    return absl::OkStatus();
  }
  const std::vector<std::string>& records() const { return records_; }

 private:
  std::vector<std::string> records_;
};

class JournalThreadTest : public ::testing::Test {
 protected:
  JournalThreadTest() : thread_(std::make_unique<JournalThread>(&files_, "journal", Options(), &heard_)) {
    thread_->Begin({.run_id = "run", .shard = ShardIndex(0), .description = "", .elements = {kElements}});
    thread_->AppendInstall({.generation = Generation(1), .resume = Round(0), .restored = false});
    heard_.Await(1);
  }
  static storage::JournalOptions Options() {
    storage::JournalOptions options;
    options.segment_bytes = 1 << 16;
    return options;
  }
  void WriteRound(uint64_t version) {
    storage::BufferRef block = pool_->Take(kElements);
    for (float& value : block->values()) value = static_cast<float>(version);
    thread_->WriteBlock(Slot(0), std::move(block));
    thread_->CommitRound({.generation = Generation(1),
                          .version = Version(version),
                          .contents = storage::RoundContents::kParameters,
                          .participants = {Rank(0)}});
  }
  std::vector<std::string> ReadBack() {
    thread_.reset();
    Records records;
    const auto journal = storage::Journal::Recover(files_, "journal", Options(), records);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return records.records();
  }
  // Blocks until the disk has refused something.
  absl::Status AwaitTrouble() {
    while (thread_->state().trouble.ok()) std::this_thread::yield();
    return thread_->state().trouble;
  }

  FaultyFiles files_{kSeed};
  std::shared_ptr<storage::BufferPool> pool_ = storage::BufferPool::Create();
  Heard heard_;
  std::unique_ptr<JournalThread> thread_;
};

TEST_F(JournalThreadTest, Disk_IsFull_SaysSoAndGoesOnWhenThereIsRoom) {
  WriteRound(0);
  heard_.Await(2);
  files_.FailAt(files_.operations(), FaultyFiles::Fault::kNoSpace, FaultyFiles::kUntilLifted);
  WriteRound(1);
  EXPECT_EQ(AwaitTrouble().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(heard_.size(), 2u) << "nothing is called durable that is not";
  files_.Lift();
  EXPECT_THAT(heard_.Await(3), ElementsAre("install 1", "round 0", "round 1"));
  EXPECT_THAT(ReadBack(), ElementsAre("install 1", "round 0", "round 1"));
}

TEST_F(JournalThreadTest, Disk_FailsInTheMiddleOfARound_TheWholeRoundIsWrittenAgain) {
  for (uint64_t at = 0; at < 8; ++at) {
    SCOPED_TRACE(at);
    files_.FailAt(files_.operations() + at, FaultyFiles::Fault::kBroken);
    WriteRound(at);
    heard_.Await(at + 2);
    files_.Lift();
  }
  EXPECT_THAT(ReadBack(), ElementsAre("install 1", "round 0", "round 1", "round 2", "round 3", "round 4", "round 5",
                                      "round 6", "round 7"));
}

// A generation changes while the disk refuses: what was asked for comes in order, nothing twice.
TEST_F(JournalThreadTest, Install_WhileTheDiskIsFull_ComesAfterTheRound) {
  files_.FailAt(files_.operations(), FaultyFiles::Fault::kNoSpace, FaultyFiles::kUntilLifted);
  WriteRound(0);
  thread_->AppendInstall({.generation = Generation(2), .resume = Round(1), .restored = false});
  EXPECT_FALSE(AwaitTrouble().ok());
  files_.Lift();
  EXPECT_THAT(heard_.Await(3), ElementsAre("install 1", "round 0", "install 2"));
  EXPECT_THAT(ReadBack(), ElementsAre("install 1", "round 0", "install 2"));
}

TEST_F(JournalThreadTest, Stop_WhileTheDiskIsFull_Ends) {
  files_.FailAt(files_.operations(), FaultyFiles::Fault::kNoSpace, FaultyFiles::kUntilLifted);
  WriteRound(0);
  EXPECT_FALSE(AwaitTrouble().ok());
  thread_->Stop();
  EXPECT_EQ(heard_.size(), 1u);
}

// ---- The coordinator's file ----

SavedRun Example() {
  SavedRun run;
  run.memory = {
      .run_id = "0123",
      .workers = 3,
      .shards = 2,
      .generation = Generation(7),
      .announced = Round(5),
      .places = {{.rank = Rank(1), .incarnation = Incarnation(11), .name = "b", .defined = true, .expected = true},
                 // Of an elastic run: one that has come on top.
                 {.rank = Rank(3), .incarnation = Incarnation(12), .name = "d", .defined = true, .expected = true}},
      .fenced = {Incarnation(4)},
      .departed = {Incarnation(9)},
      .model = ModelSpec{.tensors = {{.name = "w", .shape = {2, 3}}}},
      .done = false,
      .excluded = {},
      .rollback = core::Rollback{.generation = Generation(6),
                                 .from = Version(9),
                                 .to = Version(4),
                                 .reason = "lost",
                                 .times = 2,
                                 .done = true},
      .abandoned = {{.before = Generation(6), .after = Version(4)}}};
  run.optimizer.set_optimizer("adam");
  run.block_elements = 1024;
  return run;
}

TEST(CoordinatorStoreTest, Run_SavedAndLoaded_IsTheSame) {
  FaultyFiles files(kSeed);
  CoordinatorStore store(&files, "data");
  EXPECT_FALSE((*store.Load()).has_value());
  ASSERT_TRUE(store.Save(Example()).ok());
  const auto loaded = store.Load();
  ASSERT_TRUE(loaded.ok() && loaded->has_value()) << loaded.status();
  EXPECT_EQ((*loaded)->memory, Example().memory);
  EXPECT_EQ((*loaded)->optimizer.optimizer(), "adam");
  EXPECT_EQ((*loaded)->block_elements, 1024u);
}

TEST(CoordinatorStoreTest, File_AnyBitFlippedOrCutAnywhere_IsDetectedAndNamed) {
  FaultyFiles files(kSeed);
  CoordinatorStore store(&files, "data");
  ASSERT_TRUE(store.Save(Example()).ok());
  const std::map<std::string, std::string> whole = files.Contents();
  const std::string& bytes = whole.at("data/coordinator");
  const auto expect_damage = [&](std::string changed) {
    std::map<std::string, std::string> contents = whole;
    contents["data/coordinator"] = std::move(changed);
    files.SetContents(contents);
    const absl::Status status = store.Load().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("data/coordinator"));
  };
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string changed = bytes;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
    expect_damage(std::move(changed));
  }
  for (size_t size = 0; size < bytes.size(); ++size) expect_damage(bytes.substr(0, size));
}

TEST(CoordinatorStoreTest, Save_PowerIsLostAtAnyMoment_OldOrNewIsWhole) {
  for (uint64_t at = 0; at < 20; ++at) {
    FaultyFiles files(at);
    CoordinatorStore store(&files, "data");
    ASSERT_TRUE(store.Save(Example()).ok());
    SavedRun next = Example();
    next.memory.generation = Generation(8);
    files.FailAt(files.operations() + at, FaultyFiles::Fault::kCrash);
    const bool saved = store.Save(next).ok();
    files.Crash(FaultyFiles::Survives::kSynced);
    const auto loaded = store.Load();
    ASSERT_TRUE(loaded.ok() && loaded->has_value()) << loaded.status();
    const Generation generation = (*loaded)->memory.generation;
    EXPECT_TRUE(generation == Generation(8) || (!saved && generation == Generation(7))) << "operation " << at;
  }
}

}  // namespace
}  // namespace lockstep::service
