#include "server/storage/journal.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "server/storage/journal_format.h"
#include "server/storage/journal_index.h"

namespace lockstep::storage {
namespace {

constexpr uint64_t kElements = 1000;

class Seen : public JournalVisitor {
 public:
  absl::Status OnIdentity(const JournalIdentity&) override { return absl::OkStatus(); }
  absl::Status OnRound(const RoundRecord& round, const BlockReader& read) override {
    rounds.push_back(round);
    firsts.push_back(-1);
    if (round.contents == RoundContents::kNothing) return absl::OkStatus();
    std::vector<float> block(kElements);
    absl::Status status = read(Slot(0), absl::MakeSpan(block));
    firsts.back() = block[0];
    return status;
  }
  absl::Status OnInstall(const InstallRecord& install) override {
    installs.push_back(install);
    return absl::OkStatus();
  }
  std::vector<RoundRecord> rounds;
  std::vector<float> firsts;  // element of each
  std::vector<InstallRecord> installs;
};

class JournalTest : public ::testing::Test {
 protected:
  JournalTest()
      : folder_(::testing::TempDir() + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name()) {}

  void Create(JournalOptions options = {}) {
    options.segment_bytes = 1;
    auto journal = Journal::Create(SystemFiles(), folder_, {"run", ShardIndex(3), "about it", {kElements}}, options);
    ASSERT_EQ(journal.status(), absl::OkStatus());
    journal_ = *std::move(journal);
  }
  absl::Status Round(uint64_t version, float value) {
    absl::Status status = journal_->WriteBlock(Slot(0), std::vector<float>(kElements, value));
    return status.ok() ? journal_->CommitRound(Gradient(version)) : status;
  }
  static RoundRecord Gradient(uint64_t version) {
    return {Generation(1), Version(version), RoundContents::kGradient, {Rank(0), Rank(7)}};
  }
  absl::Status Recover(Seen& seen) {
    auto journal = Journal::Recover(SystemFiles(), folder_, {.segment_bytes = 1}, seen);
    if (journal.ok()) journal_ = *std::move(journal);
    return journal.status();
  }

  const std::string folder_;
  std::unique_ptr<Journal> journal_;
};

TEST_F(JournalTest, Records_OfAllKinds_ComeBackInOrder) {
  Create();
  ASSERT_EQ(journal_->AppendInstall({Generation(1), Version(0), false}), absl::OkStatus());
  ASSERT_EQ(Round(0, 5), absl::OkStatus());
  ASSERT_EQ(journal_->CommitRound({Generation(1), Version(1), RoundContents::kNothing, {}}), absl::OkStatus());
  ASSERT_EQ(Round(2, 6), absl::OkStatus());
  ASSERT_EQ(journal_->AppendInstall({Generation(2), Version(2), true}), absl::OkStatus());
  Seen seen;
  ASSERT_EQ(Recover(seen), absl::OkStatus());
  EXPECT_EQ(seen.firsts, (std::vector<float>{5, -1, 6}));
  EXPECT_EQ(seen.rounds[2], Gradient(2));
  EXPECT_EQ(seen.installs,
            (std::vector<InstallRecord>{{Generation(1), Version(0), false}, {Generation(2), Version(2), true}}));
  EXPECT_EQ(journal_->identity(), (JournalIdentity{"run", ShardIndex(3), "about it", {kElements}}));
}

TEST_F(JournalTest, Journal_ThatIsNotThere_IsNull) {
  Seen seen;
  ASSERT_EQ(Recover(seen), absl::OkStatus());
  EXPECT_EQ(journal_, nullptr);
}

TEST_F(JournalTest, Block_WrittenAgain_CountsTheLastTime) {
  Create();
  ASSERT_EQ(journal_->WriteBlock(Slot(0), std::vector<float>(kElements, 1)), absl::OkStatus());
  ASSERT_EQ(Round(0, 2), absl::OkStatus());
  Seen seen;
  ASSERT_EQ(Recover(seen), absl::OkStatus());
  EXPECT_EQ(seen.firsts, (std::vector<float>{2}));
}

TEST_F(JournalTest, Round_WithoutAllItsBlocks_IsRefused) {
  Create();
  EXPECT_TRUE(absl::IsFailedPrecondition(journal_->CommitRound(Gradient(0))));
  ASSERT_EQ(Round(0, 1), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(journal_->CommitRound(Gradient(1))));
  ASSERT_EQ(journal_->WriteBlock(Slot(0), std::vector<float>(kElements, 1)), absl::OkStatus());
  ASSERT_EQ(journal_->AppendInstall({Generation(2), Version(1), false}), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(journal_->CommitRound(Gradient(1))));
}

TEST_F(JournalTest, Block_OfAnotherLayout_IsRefused) {
  Create();
  EXPECT_TRUE(absl::IsInvalidArgument(journal_->WriteBlock(Slot(0), std::vector<float>(kElements - 1))));
  EXPECT_TRUE(absl::IsInvalidArgument(journal_->WriteBlock(Slot(1), std::vector<float>(kElements))));
}

TEST_F(JournalTest, Block_WithAWrongChecksum_IsDamageAndNamed) {
  Create();
  const uint64_t wrong = 4711;
  ASSERT_EQ(journal_->WriteBlock(Slot(0), std::vector<float>(kElements, 1), &wrong), absl::OkStatus());
  ASSERT_EQ(journal_->CommitRound(Gradient(0)), absl::OkStatus());
  Seen seen;
  const absl::Status status = Recover(seen);
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_TRUE(absl::StrContains(status.message(), folder_ + "/journal-000001: damaged at byte 16384: record 1"))
      << status;
}

TEST_F(JournalTest, Space_Forgotten_IsUsedAgain) {
  Create();
  for (uint64_t version = 0; version < 6; ++version) ASSERT_EQ(Round(version, 1), absl::OkStatus());
  ASSERT_EQ(journal_->Forget(Version(5)), absl::OkStatus());
  const uint64_t allocated = journal_->allocated_bytes();
  for (uint64_t version = 6; version < 100; ++version) {
    ASSERT_EQ(Round(version, 1), absl::OkStatus());
    ASSERT_EQ(journal_->Forget(Version(version)), absl::OkStatus());
  }
  EXPECT_EQ(journal_->allocated_bytes(), allocated);
  EXPECT_LT(journal_->live_bytes(), allocated);
  Seen seen;
  ASSERT_EQ(Recover(seen), absl::OkStatus());
  EXPECT_EQ(seen.rounds.back().version, Version(99));
  EXPECT_LE(seen.rounds.size(), 3u);
}

TEST_F(JournalTest, Forget_OfAnInstall_StillTellsIt) {
  Create();
  const InstallRecord install{Generation(4), Version(0), false};
  ASSERT_EQ(journal_->AppendInstall(install), absl::OkStatus());
  for (uint64_t version = 0; version < 10; ++version) ASSERT_EQ(Round(version, 1), absl::OkStatus());
  ASSERT_EQ(journal_->Forget(Version(9)), absl::OkStatus());
  Seen seen;
  ASSERT_EQ(Recover(seen), absl::OkStatus());
  EXPECT_EQ(seen.installs, (std::vector<InstallRecord>{install}));
  EXPECT_GT(seen.rounds.front().version, Version(5));
}

TEST_F(JournalTest, Forget_OfARoundThatIsNeeded_KeepsIt) {
  Create();
  for (uint64_t version = 0; version < 10; ++version) ASSERT_EQ(Round(version, 1), absl::OkStatus());
  ASSERT_EQ(journal_->Forget(Version(3)), absl::OkStatus());
  Seen seen;
  ASSERT_EQ(Recover(seen), absl::OkStatus());
  EXPECT_LE(seen.rounds.front().version, Version(4));
}

TEST_F(JournalTest, Create_OverAnOlderJournal_EndsIt) {
  Create();
  for (uint64_t version = 0; version < 10; ++version) ASSERT_EQ(Round(version, 1), absl::OkStatus());
  Create();
  Seen seen;
  ASSERT_EQ(Recover(seen), absl::OkStatus());
  EXPECT_TRUE(seen.rounds.empty());
  EXPECT_EQ(*SystemFiles().List(folder_), std::vector<std::string>{"journal-index"});
}

TEST_F(JournalTest, FailPoints_OfARoundWithSync_AreAllHit) {
  std::set<std::string> hit;
  Create({.sync = true, .fail_point = [&](absl::string_view name) { hit.emplace(name); }});
  ASSERT_EQ(Round(0, 1), absl::OkStatus());
  EXPECT_EQ(hit, std::set<std::string>(std::begin(kJournalFailPoints), std::end(kJournalFailPoints)));
}

TEST(JournalIndexTest, Index_Encoded_DecodesToTheSame) {
  const JournalIndex index{{"run", ShardIndex(1), "d", {1, 2, 3}},
                           InstallRecord{Generation(3), Version(4), true},
                           {{1, 77, 1}, {5, 78, 12}}};
  const std::string bytes = EncodeJournalIndex(index);
  EXPECT_EQ(*DecodeJournalIndex("x", bytes), index);
  EXPECT_TRUE(absl::IsDataLoss(DecodeJournalIndex("x", bytes + "x").status()));
}

TEST(JournalFormatTest, SegmentName_AnyNumber_IsReadBack) {
  EXPECT_EQ(SegmentName(12), "journal-000012");
  for (const uint64_t number : {1, 999'999, 12'345'678}) EXPECT_EQ(*SegmentNumber(SegmentName(number)), number);
  for (const char* const name : {"journal-index", "journal-12", "journal-000012.tmp", "journal-+00012", "x"}) {
    EXPECT_FALSE(SegmentNumber(name).ok()) << name;
  }
}

TEST(JournalFormatTest, Head_ForAnotherNonceOrPlace_IsNotSealed) {
  RecordHead head = HeadOf(InstallRecord{Generation(1), Version(2), false});
  head.checksum = SealOf(head, 5, 4096);
  EXPECT_TRUE(IsSealed(head, 5, 4096));
  EXPECT_FALSE(IsSealed(head, 6, 4096));
  EXPECT_FALSE(IsSealed(head, 5, 8192));
}

}  // namespace
}  // namespace lockstep::storage
