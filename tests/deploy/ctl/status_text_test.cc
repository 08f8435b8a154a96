#include "deploy/ctl/status_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "deploy/ctl/tables.h"
#include "tests/deploy/ctl/statuses.h"

namespace lockstep::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Text(const v1::Status& status) { return StatusText(status, Paint(false)); }

long Lines(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

TEST(StatusText, HealthyRun_IsThisPage) {
  EXPECT_EQ(Text(HealthyRun(16, 4)),
            "TRAINING  healthy  collecting round 118\n"
            "run 3f9a2c01, version 117, round 118, generation 4, up 1 m 12 s, lease 5.0 s\n"
            "workers  ranks 0-15 active\n"
            "shards   0-3 up, version 117\n"
            "rounds   the last 10 took 12 ms (median), at most 12 ms; rank 15 came last in 10 of "
            "them\n"
            "model    2 tensors, 100,480 elements; adamw, lr 0.001\n");
}

TEST(StatusText, Straggler_IsNamedWithReasonTimeAndBlocks) {
  const std::string text = Text(StragglerRun(16, 4, 3));
  EXPECT_THAT(text, HasSubstr("NOT HEALTHY"));
  EXPECT_THAT(text, HasSubstr("waits for rank 3 (worker-3) for 8.2 s: silent: no heartbeat\n"));
  EXPECT_THAT(text, HasSubstr("waits    for rank 3 (worker-3) for 8.2 s; missing: "
                              "3 of 12 blocks on shards 1-3, all 12 on shard 0\n"))
      << "the heading has the reason";
  EXPECT_THAT(text, HasSubstr("workers  ranks 0-2, 4-15 active\n"
                              "         rank 3 silent: worker-3, last heard 8.2 s ago\n"));
  EXPECT_LE(Lines(text), 10);
}

TEST(StatusText, LongLines_AreBroken) {
  v1::Status status = StragglerRun(16, 32, 3);
  for (int i = 0; i < 32; i += 2) status.mutable_waiting_for(0)->mutable_missing(i)->set_missing_blocks(5);
  for (const absl::string_view line : absl::StrSplit(Text(status), '\n')) {
    EXPECT_LE(line.size(), kStatusColumns) << line;
  }
}

TEST(StatusText, WaitOfWhichTheHeadingSaysAll_IsNotRepeated) {
  v1::Status status = StragglerRun(16, 4, 3);
  status.mutable_waiting_for(0)->clear_missing();
  EXPECT_THAT(Text(status), Not(HasSubstr("waits    ")));
}

TEST(StatusText, VersionsOfReportsOfDifferentAge_AreTheCommonOne) {
  v1::Status status = HealthyRun(4, 3);
  status.mutable_shards(1)->set_version(133);
  status.mutable_shards(1)->set_report_age_seconds(0.05);
  status.mutable_shards(2)->set_report_age_seconds(0.21);
  EXPECT_THAT(Text(status), HasSubstr("shards   0-2 up, version 117 or later, last reports up to 210 ms old\n"));
}

TEST(StatusText, ShardWithoutConnection_IsLost) {
  v1::Status status = HealthyRun(4, 2);
  status.mutable_shards(1)->set_state(v1::ShardStatus::LOST);
  status.mutable_shards(1)->set_report_age_seconds(3.2);
  EXPECT_THAT(Text(status), HasSubstr("1 lost, version 117 at 127.0.0.1:7001, last report 3.2 s ago\n"));
}

TEST(StatusText, OneOfSomething_IsNoPlural) {
  v1::Status status = HealthyRun(1, 1);
  status.mutable_model()->mutable_tensors()->DeleteSubrange(1, 1);
  status.mutable_model()->mutable_tensors(0)->clear_shape();
  EXPECT_THAT(Text(status), HasSubstr("1 tensor, 1 element;"));
}

TEST(StatusText, LostWorker_IsNamed) {
  const std::string text = Text(LostWorkerRun(16, 4, 7));
  EXPECT_THAT(text, HasSubstr("WAITING FOR WORKERS  NOT HEALTHY"));
  EXPECT_THAT(text, HasSubstr("rank 7 (worker-7) for 8.2 s: its lease expired"));
  EXPECT_THAT(text, HasSubstr("rank 7 lost: worker-7"));
}

TEST(StatusText, AbsentShards_FoldIntoOneLine) {
  const std::string text = Text(AbsentShardsRun(16, 4));
  EXPECT_THAT(text, HasSubstr("waits    for shards 1-3 for 12 s: has not registered\n"));
  EXPECT_THAT(text, HasSubstr("no version yet"));
  EXPECT_THAT(text, HasSubstr("1-3 absent\n"));
}

TEST(StatusText, BeforeAnyWorker_FoldsAllRanks) {
  const std::string text = Text(FreshRun(16, 4));
  EXPECT_THAT(text, HasSubstr("WAITING FOR WORKERS  healthy"));
  EXPECT_THAT(text, HasSubstr("for ranks 0-15 for 1.5 s: nobody has taken the rank\n"));
  EXPECT_THAT(text, HasSubstr("workers  ranks 0-15 absent\n"));
  EXPECT_THAT(text, Not(HasSubstr("model ")));
  EXPECT_LE(Lines(text), 6);
}

TEST(StatusText, EndedRuns_SaySo) {
  EXPECT_THAT(Text(DoneRun(16, 4)), HasSubstr("DONE  healthy  all workers have left\n"));
  EXPECT_THAT(Text(FailedRun(16, 4)), HasSubstr("FAILED  NOT HEALTHY  shard 1 came back"));
}

TEST(StatusText, WorstRuns_FitTheScreen) {
  for (const uint32_t workers : {16u, 200u}) {
    const std::string text = Text(WorstRun(workers, workers == 16 ? 4 : 50));
    EXPECT_LE(Lines(text), kMaxStatusLines) << text;
    EXPECT_THAT(text, HasSubstr(" more (see -o wide)"));
    EXPECT_THAT(text, HasSubstr("everything at once\n"));
  }
}

TEST(StatusText, WhoIsWaitedForLongest_ComesFirst) {
  EXPECT_THAT(Text(WorstRun(16, 4)), HasSubstr("waits    for rank 15 (worker-15) for 15 s"));
}

TEST(StatusText, EmptyMessage_DoesNotCrash) { EXPECT_GE(Lines(Text(v1::Status())), 2); }

TEST(StatusText, Colours_OnlyWhenOn) {
  EXPECT_THAT(Text(StragglerRun(16, 4, 3)), Not(HasSubstr("\x1b[")));
  EXPECT_THAT(StatusText(StragglerRun(16, 4, 3), Paint(true)), HasSubstr("\x1b[1;31m"));
}

TEST(Tables, Workers_HaveOneLineEach) {
  const std::string text = WorkersTable(StragglerRun(16, 4, 3), Width::kNarrow, Paint(false));
  EXPECT_EQ(Lines(text), 17);
  EXPECT_THAT(text, HasSubstr("   3  worker-3   silent      8.2 s"));
  EXPECT_THAT(text, Not(HasSubstr("INCARNATION")));
}

TEST(Tables, WideWorkers_SayWhatIsMissing) {
  const std::string text = WorkersTable(StragglerRun(16, 4, 3), Width::kWide, Paint(false));
  EXPECT_THAT(text, HasSubstr("all 12 on shard 0"));
  EXPECT_THAT(text, HasSubstr("fedcba9876543213"));
}

TEST(Tables, Shards_HaveOneLineEach) {
  const std::string text = ShardsTable(AbsentShardsRun(16, 4), Width::kWide, Paint(false));
  EXPECT_EQ(Lines(text), 5);
  EXPECT_THAT(text, HasSubstr("absent"));
}

TEST(Tables, Rounds_NameWhoCameLast) {
  const std::string text = RoundsTable(HealthyRun(4, 2), 10, Width::kWide, Paint(false));
  EXPECT_EQ(Lines(text), 11);
  EXPECT_THAT(text, HasSubstr("rank 3 (worker-3)  4.0 ms"));
  EXPECT_THAT(text, HasSubstr("0-3"));
}

TEST(Tables, RoundInWhichAWorkerWasReplaced_BlamesNobody) {
  v1::Status status = HealthyRun(4, 2);
  for (int i = 0; i < 3; ++i) status.mutable_rounds(i)->set_generation(5);
  const std::vector<std::string> lines =
      absl::StrSplit(RoundsTable(status, 3, Width::kNarrow, Paint(false)), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_THAT(lines[2], HasSubstr("rank 3 (worker-3)"));
  EXPECT_THAT(lines[3], HasSubstr("- (new generation)       -")) << "the last one shown";
}

}  // namespace
}  // namespace lockstep::ctl
