#include "deploy/ctl/words.h"

#include <gtest/gtest.h>

#include "deploy/ctl/exit_codes.h"
#include "deploy/ctl/table.h"

namespace lockstep::ctl {
namespace {

TEST(StateName, KnownAndUnknown_AreLowerCase) {
  EXPECT_EQ(StateName(v1::Status::WAITING_FOR_WORKERS), "waiting_for_workers");
  EXPECT_EQ(StateName(v1::WorkerStatus::SILENT), "silent");
  EXPECT_EQ(StateName(static_cast<v1::ShardStatus::State>(99)), "state_99");
  EXPECT_EQ(StateWords(v1::Status::CHANGING_GENERATION), "changing generation");
}

TEST(FormatSeconds, AnyDuration_HasTwoOrThreeDigits) {
  EXPECT_EQ(FormatSeconds(0), "0 s");
  EXPECT_EQ(FormatSeconds(-1), "0 s");
  EXPECT_EQ(FormatSeconds(0.00042), "0.4 ms");
  EXPECT_EQ(FormatSeconds(0.0123), "12 ms");
  EXPECT_EQ(FormatSeconds(0.9996), "1.0 s");
  EXPECT_EQ(FormatSeconds(8.2), "8.2 s");
  EXPECT_EQ(FormatSeconds(42.4), "42 s");
  EXPECT_EQ(FormatSeconds(59.7), "1 m 0 s");
  EXPECT_EQ(FormatSeconds(72), "1 m 12 s");
  EXPECT_EQ(FormatSeconds(7380), "2 h 3 m");
  EXPECT_EQ(FormatSeconds(273600), "3 d 4 h");
}

TEST(FormatBytes, AnySize_HasTheRightUnit) {
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1500), "1.5 KB");
  EXPECT_EQ(FormatBytes(999'600), "1.0 MB");
  EXPECT_EQ(FormatBytes(100'000'000), "100 MB");
}

TEST(FormatCount, Thousands_AreSeparated) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(109386), "109,386");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
}

TEST(FormatCount, Noun_HasAnSUnlessThereIsOne) {
  EXPECT_EQ(FormatCount(0, "tensor"), "0 tensors");
  EXPECT_EQ(FormatCount(1, "tensor"), "1 tensor");
  EXPECT_EQ(FormatCount(1200, "element"), "1,200 elements");
}

TEST(Wrap, LongText_BreaksAtSpaces) {
  EXPECT_EQ(Wrap("", 10, 2), "");
  EXPECT_EQ(Wrap("one two", 7, 2), "one two");
  EXPECT_EQ(Wrap("one two  three four", 9, 2), "one two\n  three\n  four");
  EXPECT_EQ(Wrap("a much-too-long-word b", 6, 1), "a\n much-too-long-word\n b");
  EXPECT_EQ(Wrap("\x1b[1;31mone two\x1b[0m", 7, 2), "\x1b[1;31mone two\x1b[0m");
}

TEST(FormatRanges, Neighbours_AreFolded) {
  EXPECT_EQ(FormatRanges({}), "");
  EXPECT_EQ(FormatRanges({7, 0, 1, 2, 5, 2}), "0-2, 5, 7");
  EXPECT_EQ(FormatRanges("rank", {3}), "rank 3");
  EXPECT_EQ(FormatRanges("rank", {3, 4}), "ranks 3-4");
}

TEST(FormatMissing, ShardsWithEqualCounts_AreFolded) {
  v1::WaitingFor waiting;
  EXPECT_EQ(FormatMissing(waiting.missing()), "");
  for (uint32_t shard = 0; shard < 4; ++shard) {
    v1::MissingOnShard* missing = waiting.add_missing();
    missing->set_shard(shard);
    missing->set_blocks(12);
    missing->set_missing_blocks(shard == 1 ? 3 : shard == 3 ? 0 : 12);
  }
  EXPECT_EQ(FormatMissing(waiting.missing()), "3 of 12 blocks on shard 1, all 12 on shards 0, 2");
  for (v1::MissingOnShard& missing : *waiting.mutable_missing()) {
    missing.set_blocks(1);
    missing.set_missing_blocks(1);
  }
  EXPECT_EQ(FormatMissing(waiting.missing()), "the only block on shards 0-3");
}

TEST(Table, Cells_AreAlignedWithoutTrailingSpaces) {
  Table table({{"RANK", Align::kRight}, {"NAME", Align::kLeft}});
  table.Add({"3", "worker-3"});
  table.Add({"12"}, Colour::kBad);
  EXPECT_EQ(table.ToString(Paint(false)), "RANK  NAME\n   3  worker-3\n  12\n");
  EXPECT_NE(table.ToString(Paint(true)).find("\x1b[1;31m  12\x1b[0m\n"), std::string::npos);
}

TEST(ExitCodeFor, Statuses_MapAsDocumented) {
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), kFine);
  EXPECT_EQ(ExitCodeFor(absl::NotFoundError("")), kNo);
  EXPECT_EQ(ExitCodeFor(absl::InvalidArgumentError("")), kUsage);
  EXPECT_EQ(ExitCodeFor(absl::UnavailableError("")), kUnreachable);
  EXPECT_EQ(ExitCodeFor(absl::DataLossError("")), kOther);
}

}  // namespace
}  // namespace lockstep::ctl
