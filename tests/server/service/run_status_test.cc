#include "server/service/run_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lockstep::service {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kFirstLife = 100;  // incarnation of rank r: 100 + r, until it is replaced
constexpr uint64_t kShardLife = 200;

// A run of two shards and two workers with a lease of 5 s, and its status at any moment.
class RunStatusTest : public ::testing::Test {
 protected:
  template <class Event>
  void Do(const Event& event) {
    core::CoordinatorEffects effects;
    core_.Step(event, now_, effects);
  }
  v1::Status Describe(uint32_t rounds = 10) const { return DescribeRun(core_, shards_, history_, rounds, now_); }

  void Pass(absl::Duration time) { now_ += time; }
  // Time in which everybody is heard of.
  void PassAlive(absl::Duration time) {
    Pass(time);
    for (const core::Seat& seat : core_.seats()) Do(core::WorkerBeats{seat.incarnation});
    for (ReportedShard& shard : shards_) shard.at = now_;
    Do(core::Tick{});
  }
  void Arrive(uint32_t shard) {
    Do(core::ShardArrives{ShardIndex(shard), Incarnation(kShardLife + shard), absl::StrCat("host:", shard), ""});
    shards_[shard].at = now_;
  }
  void Join(uint32_t rank, uint64_t incarnation, std::string name) {
    Do(core::WorkerJoins{Incarnation(incarnation), std::move(name), Rank(rank), ""});
  }
  void Define(uint64_t incarnation) {
    Do(core::WorkerDefines{Incarnation(incarnation), {.tensors = {{.name = "w", .shape = {8}}}}});
  }
  void ArriveAndJoin() {
    Arrive(0);
    Arrive(1);
    for (uint32_t rank = 0; rank < 2; ++rank) {
      Join(rank, kFirstLife + rank, absl::StrCat("worker-", rank));
      Define(kFirstLife + rank);
    }
  }
  // Answers for both shards; the next round is `next`.
  void Change(uint64_t next) {
    for (uint32_t s = 0; s < 2; ++s) {
      Do(core::ShardSealed{ShardIndex(s), Incarnation(kShardLife + s), core_.generation(), Round(next),
                           Generation(next == 0 ? 0 : 1)});
    }
    for (uint32_t s = 0; s < 2; ++s) {
      Do(core::ShardInstalled{ShardIndex(s), Incarnation(kShardLife + s), core_.generation(), ""});
    }
    for (uint32_t s = 0; s < 2; ++s) Report(s, next, {}, 0);
  }
  // Shard `s` collects `next` and has waited `seconds` for `missing` blocks of each rank.
  void Report(uint32_t s, uint64_t next, std::vector<uint32_t> missing, double seconds) {
    v1::ShardReport& report = shards_[s].report;
    report.Clear();
    report.set_generation(core_.generation().value());
    report.set_next_round(next);
    report.set_blocks(4);
    report.set_waiting_seconds(seconds);
    for (uint32_t rank = 0; rank < missing.size(); ++rank) {
      report.add_ranks(rank);
      report.add_missing_blocks(missing[rank]);
    }
    shards_[s].at = now_;
  }
  void Train() {
    ArriveAndJoin();
    Change(0);
    for (uint32_t s = 0; s < 2; ++s) Report(s, 8, {0, 0}, 0);
  }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  core::CoordinatorCore core_{{.run_id = "r", .workers = 2, .shards = 2, .lease = absl::Seconds(5)}, now_};
  std::vector<ReportedShard> shards_{2};
  RoundHistory history_;
};

std::vector<std::string> Waits(const v1::Status& status) {
  std::vector<std::string> texts;
  for (const v1::WaitingFor& wait : status.waiting_for()) {
    texts.push_back(absl::StrCat(wait.has_rank() ? "rank " : "shard ",
                                 wait.has_rank() ? wait.rank() : wait.shard_index(), " ", wait.name(), " ",
                                 wait.since_seconds(), " s: ", wait.reason()));
    for (const v1::MissingOnShard& missing : wait.missing()) {
      absl::StrAppend(&texts.back(), "; ", missing.missing_blocks(), "/", missing.blocks(), " on shard ",
                      missing.shard());
    }
  }
  return texts;
}

TEST_F(RunStatusTest, Shards_NotThere_AreWaitedFor) {
  Arrive(0);
  Pass(absl::Seconds(1));
  const v1::Status status = Describe();
  EXPECT_EQ(status.state(), v1::Status::WAITING_FOR_SHARDS);
  EXPECT_FALSE(status.healthy());
  EXPECT_FALSE(status.has_version());
  EXPECT_EQ(status.shards(0).state(), v1::ShardStatus::UP);
  EXPECT_EQ(status.shards(0).address(), "host:0");
  EXPECT_EQ(status.shards(1).state(), v1::ShardStatus::ABSENT);
  EXPECT_THAT(Waits(status), ::testing::Contains("shard 1  1 s: has not come yet"));
  EXPECT_THAT(status.summary(), HasSubstr("shard 1"));
}

TEST_F(RunStatusTest, Workers_NotThere_AreWaitedFor) {
  Arrive(0);
  Arrive(1);
  Join(0, kFirstLife, "worker-0");
  Define(kFirstLife);
  Pass(absl::Seconds(1));
  const v1::Status status = Describe();
  EXPECT_EQ(status.state(), v1::Status::WAITING_FOR_WORKERS);
  EXPECT_EQ(status.workers(0).state(), v1::WorkerStatus::ACTIVE);
  EXPECT_EQ(status.workers(1).state(), v1::WorkerStatus::ABSENT);
  EXPECT_THAT(Waits(status), ::testing::Contains(HasSubstr("rank 1  1 s: nobody holds this rank")));
  EXPECT_THAT(status.summary(), HasSubstr("waiting for workers to join"));
  EXPECT_THAT(status.summary(), HasSubstr("rank 1"));
}

TEST_F(RunStatusTest, Worker_JoinedButUndefined_IsNamedSo) {
  Arrive(0);
  Arrive(1);
  Join(1, kFirstLife + 1, "worker-1");
  Pass(absl::Seconds(1));
  const v1::Status status = Describe();
  EXPECT_EQ(status.workers(1).state(), v1::WorkerStatus::JOINED);
  EXPECT_EQ(status.workers(1).state_seconds(), 1);
  EXPECT_THAT(Waits(status), ::testing::Contains("rank 1 worker-1 1 s: has joined, but not defined the model yet"));
}

TEST_F(RunStatusTest, Generation_Changing_NamesTheShardThatHasNotAnswered) {
  ArriveAndJoin();
  Do(core::ShardSealed{ShardIndex(0), Incarnation(kShardLife), core_.generation(), Round(0), Generation(0)});
  EXPECT_THAT(Waits(Describe()), ElementsAre()) << "this is how long it may take";
  PassAlive(absl::Seconds(1));
  const v1::Status status = Describe();
  EXPECT_EQ(status.state(), v1::Status::CHANGING_GENERATION);
  EXPECT_FALSE(status.healthy());
  EXPECT_THAT(Waits(status), ElementsAre("shard 1 host:1 1 s: has not answered the change to generation 1"));
  EXPECT_EQ(status.summary(),
            "changing to generation 1, waits for shard 1 for 1 s: has not answered the change to generation 1");
}

TEST_F(RunStatusTest, Training_InItsCourse_WaitsForNobody) {
  Train();
  Report(0, 8, {1, 0}, 0.2);
  Report(1, 9, {0, 0}, 0);
  const v1::Status status = Describe();
  EXPECT_EQ(status.state(), v1::Status::TRAINING);
  EXPECT_TRUE(status.healthy());
  EXPECT_EQ(status.run_id(), "r");
  EXPECT_EQ(status.generation(), 1u);
  EXPECT_EQ(status.round(), 8u) << "of the shard that is behind";
  EXPECT_EQ(status.version(), 7u) << "complete on every shard";
  EXPECT_EQ(status.summary(), "round 8 is under way");
  EXPECT_THAT(Waits(status), ElementsAre());
  EXPECT_EQ(status.shards(1).version(), 8u);
  EXPECT_EQ(status.lease_seconds(), 5);
}

TEST_F(RunStatusTest, InitialValues_OnTheirWay_AreSaid) {
  ArriveAndJoin();
  Change(0);
  const v1::Status status = Describe();
  EXPECT_FALSE(status.has_version());
  EXPECT_EQ(status.summary(), "receiving the initial values");
}

TEST_F(RunStatusTest, Straggler_OnOneShard_IsNamedWithWhatIsMissing) {
  Train();
  Report(1, 8, {0, 3}, 2);
  const v1::Status status = Describe();
  EXPECT_THAT(Waits(status),
              ElementsAre("rank 1 worker-1 2 s: alive, but its contribution is missing; 3/4 on shard 1"));
  EXPECT_TRUE(status.healthy()) << "not longer than the lease";
  EXPECT_EQ(status.summary(),
            "round 8 is under way, waits for rank 1 (worker-1) for 2 s: alive, but its contribution is missing");
  PassAlive(absl::Seconds(1));
  Report(1, 8, {0, 3}, 5.5);
  EXPECT_FALSE(Describe().healthy());
}

TEST_F(RunStatusTest, Shard_AheadOfTheOthers_BlamesNobodyForItsNextRound) {
  Train();
  Report(0, 9, {4, 4}, 2);  // has completed round 8: nobody can contribute to round 9 before shard 1 has
  Report(1, 8, {0, 3}, 2);
  EXPECT_THAT(Waits(Describe()),
              ElementsAre("rank 1 worker-1 2 s: alive, but its contribution is missing; 3/4 on shard 1"));
}

TEST_F(RunStatusTest, Report_OfAnOldGeneration_BlamesNobody) {
  Train();
  Report(1, 8, {0, 3}, 2);
  shards_[1].report.set_generation(0);
  EXPECT_THAT(Waits(Describe()), ElementsAre());
}

TEST_F(RunStatusTest, Report_WithRanksButNoCounts_IsTakenAsFarAsItGoes) {
  Train();
  Report(0, 8, {2, 1}, 3);
  shards_[0].report.mutable_missing_blocks()->Truncate(1);
  const v1::Status status = Describe();
  EXPECT_EQ(status.workers(0).missing_size(), 1);
  EXPECT_EQ(status.workers(1).missing_size(), 0);
}

TEST_F(RunStatusTest, Worker_Silent_IsNamedBeforeItIsLost) {
  Train();
  Pass(absl::Milliseconds(2500));
  Do(core::WorkerBeats{Incarnation(kFirstLife)});
  for (uint32_t s = 0; s < 2; ++s) Report(s, 8, {0, 4}, 2.4);
  Do(core::Tick{});
  const v1::Status status = Describe();
  EXPECT_EQ(status.workers(0).state(), v1::WorkerStatus::ACTIVE);
  EXPECT_EQ(status.workers(1).state(), v1::WorkerStatus::SILENT);
  EXPECT_THAT(Waits(status), ElementsAre("rank 1 worker-1 2.5 s: silent: no heartbeat; 4/4 on shard 0; 4/4 "
                                         "on shard 1"));
}

TEST_F(RunStatusTest, Worker_Lost_IsUnhealthyAtOnce) {
  Train();
  Pass(absl::Seconds(6));
  Do(core::WorkerBeats{Incarnation(kFirstLife)});
  for (uint32_t s = 0; s < 2; ++s) Report(s, 8, {0, 4}, 5);
  Do(core::Tick{});
  const v1::Status status = Describe();
  EXPECT_EQ(status.workers(1).state(), v1::WorkerStatus::LOST);
  EXPECT_EQ(status.workers(1).heartbeat_age_seconds(), 6);
  EXPECT_FALSE(status.healthy());
  EXPECT_THAT(Waits(status), ElementsAre(HasSubstr("rank 1 worker-1 6 s: lost: no heartbeat for 6 s")));
}

TEST_F(RunStatusTest, Worker_Replaced_IsCounted) {
  Train();
  Join(1, 999, "worker-1");
  const v1::Status status = Describe();
  EXPECT_EQ(status.state(), v1::Status::WAITING_FOR_WORKERS);
  EXPECT_EQ(status.workers(1).incarnation(), 999u);
  EXPECT_EQ(status.workers(1).replacements(), 1u);
  EXPECT_EQ(status.workers(0).replacements(), 0u);
}

TEST_F(RunStatusTest, Shard_Silent_IsNamed) {
  Train();
  Pass(absl::Seconds(3));
  for (uint32_t rank = 0; rank < 2; ++rank) Do(core::WorkerBeats{Incarnation(kFirstLife + rank)});
  Report(0, 8, {0, 0}, 0);
  const v1::Status status = Describe();
  EXPECT_EQ(status.shards(0).state(), v1::ShardStatus::UP);
  EXPECT_EQ(status.shards(1).state(), v1::ShardStatus::SILENT);
  EXPECT_EQ(status.shards(1).report_age_seconds(), 3);
  EXPECT_THAT(Waits(status), ElementsAre("shard 1 host:1 3 s: silent: no report"));
}

TEST_F(RunStatusTest, Shard_WhoseConnectionClosed_IsLostAtOnce) {
  Train();
  shards_[1].closed = now_;
  Pass(absl::Milliseconds(300));
  v1::Status status = Describe();
  EXPECT_EQ(status.shards(0).state(), v1::ShardStatus::UP);
  EXPECT_EQ(status.shards(1).state(), v1::ShardStatus::LOST);
  EXPECT_THAT(Waits(status), ElementsAre("shard 1 host:1 0.3 s: lost: connection closed 300 ms ago"));
  PassAlive(absl::Milliseconds(29700));
  status = Describe();
  EXPECT_FALSE(status.healthy());
  EXPECT_EQ(status.summary(), "round 8 is under way, waits for shard 1 for 30 s: lost: connection closed 30 s ago");
  shards_[1].closed.reset();
  EXPECT_THAT(Waits(Describe()), ElementsAre());
}

TEST_F(RunStatusTest, Rank_OfNobody_IsNamedByItsNumber) {
  Train();
  core::CoordinatorEffects effects;
  std::string name;
  ASSERT_TRUE(core_.Step(core::EvictRank{Rank(1)}, now_, effects, name).ok());
  PassAlive(absl::Seconds(2));
  Report(1, 8, {4, 4}, 3);
  EXPECT_THAT(Describe().summary(), HasSubstr(", waits for rank 1 and 1 more for 3 s: nobody holds this rank"));
}

TEST_F(RunStatusTest, Waits_Several_AreSortedByTheLongest) {
  Train();
  Report(0, 8, {4, 4}, 1);
  Report(1, 8, {0, 4}, 3);
  const v1::Status status = Describe();
  ASSERT_EQ(status.waiting_for_size(), 2);
  EXPECT_EQ(status.waiting_for(0).rank(), 1u);
  EXPECT_EQ(status.waiting_for(0).missing_size(), 2);
  EXPECT_EQ(status.waiting_for(1).rank(), 0u);
}

TEST_F(RunStatusTest, Run_Done_WaitsForNobody) {
  Train();
  for (uint32_t rank = 0; rank < 2; ++rank) Do(core::WorkerLeaves{Incarnation(kFirstLife + rank)});
  Pass(absl::Minutes(1));
  const v1::Status status = Describe();
  EXPECT_EQ(status.state(), v1::Status::DONE);
  EXPECT_TRUE(status.healthy());
  EXPECT_EQ(status.workers(0).state(), v1::WorkerStatus::LEFT);
  EXPECT_THAT(Waits(status), ElementsAre());
  EXPECT_EQ(status.summary(), "the run is done: every worker has left");
}

TEST_F(RunStatusTest, Run_Failed_SaysWhy) {
  ArriveAndJoin();
  for (uint32_t s = 0; s < 2; ++s) {
    Do(core::ShardSealed{ShardIndex(s), Incarnation(kShardLife + s), core_.generation(), Round(0), Generation(0)});
  }
  Do(core::ShardInstalled{ShardIndex(1), Incarnation(kShardLife + 1), core_.generation(), "no memory for it"});
  const v1::Status status = Describe();
  EXPECT_EQ(status.state(), v1::Status::FAILED);
  EXPECT_FALSE(status.healthy());
  EXPECT_THAT(status.summary(), HasSubstr("the run has failed: shard 1: no memory for it"));
  EXPECT_THAT(Waits(status), ElementsAre());
}

// ---- History ----

v1::RoundRecord Record(uint64_t version, uint64_t generation, double seconds) {
  v1::RoundRecord record;
  record.set_version(version);
  record.set_generation(generation);
  record.set_seconds(seconds);
  record.set_last_rank(1);
  record.set_last_by_seconds(0.5);
  record.add_participants(0);
  record.add_participants(1);
  return record;
}

TEST_F(RunStatusTest, Rounds_Recent_ComeNewestFirstWithWhoCameLast) {
  Train();
  for (uint64_t version = 1; version <= 5; ++version) history_.Add(Record(version, 1, 1));
  const v1::Status status = Describe(3);
  ASSERT_EQ(status.rounds_size(), 3);
  EXPECT_EQ(status.rounds(0).version(), 5u);
  EXPECT_EQ(status.rounds(2).version(), 3u);
  EXPECT_EQ(status.workers(1).last_count(), 5u);
  EXPECT_EQ(status.workers(1).last_by_seconds(), 2.5);
  EXPECT_EQ(status.workers(0).last_count(), 0u);
}

TEST_F(RunStatusTest, Rounds_LongGone_StillCountAgainstWhoCameLast) {
  Train();
  constexpr uint64_t kRounds = 5000;
  for (uint64_t version = 1; version <= kRounds; ++version) {
    history_.Add(Record(version, version <= 2000 ? 1 : 2, 1));
    history_.Add(Record(version, version <= 2000 ? 1 : 2, 1));  // of another shard
  }
  history_.Add(Record(3, 1, 1));  // late, of a shard that could not report
  history_.AddMissed(0);
  EXPECT_LT(history_.records().size(), kRounds) << "old records are forgotten, but not what they say of ranks";
  const v1::Status status = Describe();
  EXPECT_EQ(status.workers(1).last_count(), kRounds - 1) << "all but version 2001, which waited for the change";
  EXPECT_DOUBLE_EQ(status.workers(1).last_by_seconds(), 0.5 * (kRounds - 1));
  EXPECT_DOUBLE_EQ(status.workers(1).last_by_most_seconds(), 0.5);
  EXPECT_EQ(status.workers(0).last_count(), 0u);
  EXPECT_EQ(status.workers(0).missed(), 1u);
}

TEST_F(RunStatusTest, Round_InWhichTheMembersChanged_BlamesNobody) {
  Train();
  for (uint64_t version = 1; version <= 5; ++version) history_.Add(Record(version, version < 4 ? 1 : 2, 1));
  EXPECT_EQ(Describe().workers(1).last_count(), 4u) << "all but version 4, which waited for the change";
}

// Three workers, of which any two make a round.
class QuorumStatusTest : public ::testing::Test {
 protected:
  static core::RoundPolicy QuorumOf(uint32_t contributors) {
    return {.kind = core::RoundPolicy::Kind::kQuorum, .contributors = contributors};
  }
  template <class Event>
  void Do(const Event& event) {
    core::CoordinatorEffects effects;
    core_.Step(event, now_, effects);
  }
  // Round `next` is under way since `seconds`, ranks below `here` have brought their whole contribution.
  void Report(uint64_t next, uint32_t here, double seconds) {
    v1::ShardReport& report = shards_[0].report;
    report.Clear();
    report.set_generation(core_.generation().value());
    report.set_next_round(next);
    report.set_blocks(4);
    report.set_waiting_seconds(seconds);
    for (uint32_t rank = 0; rank < 3; ++rank) {
      report.add_ranks(rank);
      report.add_missing_blocks(rank < here ? 0 : 4);
    }
    shards_[0].at = now_;
  }
  void SetUp() override {
    Do(core::ShardArrives{ShardIndex(0), Incarnation(kShardLife), "host:0", ""});
    for (uint32_t rank = 0; rank < 3; ++rank) {
      Do(core::WorkerJoins{Incarnation(kFirstLife + rank), absl::StrCat("worker-", rank), Rank(rank), ""});
      Do(core::WorkerDefines{Incarnation(kFirstLife + rank), {.tensors = {{.name = "w", .shape = {8}}}}});
    }
    Do(core::ShardSealed{ShardIndex(0), Incarnation(kShardLife), core_.generation(), Round(8), Generation(1)});
    Do(core::ShardInstalled{ShardIndex(0), Incarnation(kShardLife), core_.generation(), ""});
    ASSERT_EQ(core_.state(), core::RunState::kTraining);
  }
  // `time`, in which only rank 0 and the shard are heard of.
  void Pass(absl::Duration time) {
    now_ += time;
    Do(core::WorkerBeats{Incarnation(kFirstLife)});
    Do(core::Tick{});
    shards_[0].at = now_;
  }
  v1::Status Describe() const { return DescribeRun(core_, shards_, history_, 0, now_); }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  core::CoordinatorCore core_{
      {.run_id = "r", .workers = 3, .shards = 1, .lease = absl::Seconds(5), .policy = QuorumOf(2), .max_workers = 5},
      now_};
  std::vector<ReportedShard> shards_{1};
  RoundHistory history_;
};

TEST_F(QuorumStatusTest, Round_LacksContributions_StatusSaysHowManyAndWhoIsMissing) {
  Do(core::ContributionWhole{ShardIndex(0), Incarnation(kShardLife), core_.generation(), Round(8), Rank(0)});
  Report(8, 1, 0);
  Pass(absl::Seconds(7));
  Report(8, 1, 7);
  const v1::Status status = Describe();
  EXPECT_EQ(status.summary(),
            "round 8 is under way, waits for 1 more of quorum 2 for 7 s: missing are ranks 1 (lost), 2 (lost)");
  EXPECT_THAT(Waits(status),
              ElementsAre("rank 1 worker-1 7 s: lost: no heartbeat for 7 s; the round waits for 1 more of quorum 2; "
                          "4/4 on shard 0",
                          "rank 2 worker-2 7 s: lost: no heartbeat for 7 s; the round waits for 1 more of quorum 2; "
                          "4/4 on shard 0"))
      << "and nobody waits for ranks 3 and 4, for which there is room";
  EXPECT_FALSE(status.healthy());
}

TEST_F(QuorumStatusTest, Rounds_GoOnWithoutALostWorker_NobodyWaitsForIt_ItIsNamed) {
  Pass(absl::Seconds(7));
  Report(8, 0, 0.01);
  const v1::Status status = Describe();
  EXPECT_THAT(Waits(status), ElementsAre());
  EXPECT_THAT(status.summary(), HasSubstr("round 8 is under way, without rank 1 (worker-1), lost: no heartbeat for"));
  EXPECT_FALSE(status.healthy());
}

TEST_F(QuorumStatusTest, Round_IsDecidedAndNotCompleteYet_NobodyIsWaitedFor) {
  for (uint32_t rank : {0, 1}) {
    Do(core::ContributionWhole{ShardIndex(0), Incarnation(kShardLife), core_.generation(), Round(8), Rank(rank)});
  }
  Report(8, 2, 2);
  EXPECT_THAT(Waits(Describe()), ElementsAre());
}

TEST_F(RunStatusTest, RunMayGrow_OneThatHasOnlyCome_IsNotWaitedFor) {
  core_ = core::CoordinatorCore({.run_id = "r", .workers = 2, .shards = 2, .lease = absl::Seconds(5), .max_workers = 4},
                                now_);
  Train();
  Join(3, kFirstLife + 3, "worker-3");
  PassAlive(absl::Seconds(10));
  const v1::Status status = Describe();
  EXPECT_THAT(Waits(status), ElementsAre());
  EXPECT_TRUE(status.healthy()) << status.summary();
}

TEST(RoundHistoryTest, Record_OfTheSlowerShard_IsKept) {
  RoundHistory history;
  history.Add(Record(4, 1, 2));
  history.Add(Record(4, 1, 3));
  history.Add(Record(4, 1, 1));
  ASSERT_EQ(history.records().size(), 1u);
  EXPECT_EQ(history.records()[0].seconds(), 3);
}

TEST(RoundHistoryTest, Version_MadeAgain_ReplacesTheUndone) {
  RoundHistory history;
  history.Add(Record(4, 1, 9));
  history.Add(Record(5, 2, 1));
  history.Add(Record(4, 2, 1));
  history.Add(Record(4, 1, 10));
  ASSERT_EQ(history.records().size(), 2u);
  EXPECT_EQ(history.records()[0].generation(), 2u);
  EXPECT_EQ(history.records()[0].seconds(), 1);
}

TEST(RoundHistoryTest, Records_InAnyOrder_AreSortedAndBounded) {
  RoundHistory history;
  for (uint64_t version = 1; version <= 1000; ++version) history.Add(Record(version ^ 1, 1, 1));
  ASSERT_EQ(history.records().size(), 256u);
  for (size_t i = 1; i < 256; ++i) EXPECT_LT(history.records()[i - 1].version(), history.records()[i].version());
  EXPECT_EQ(history.records().back().version(), 1001u);
}

// ---- Disks ----

TEST_F(RunStatusTest, Disk_OfAShardTakesNothing_IsNamedAtOnceWithTheReason) {
  ArriveAndJoin();
  Change(0);
  shards_[1].report.set_disk_seconds(0.4);
  shards_[1].report.set_disk_trouble("journal-000001: no space left");
  const v1::Status status = Describe();
  ASSERT_GE(status.waiting_for_size(), 1);
  EXPECT_EQ(status.waiting_for(0).shard_index(), 1u);
  EXPECT_NEAR(status.waiting_for(0).since_seconds(), 0.4, 0.001);
  EXPECT_THAT(status.waiting_for(0).reason(), HasSubstr("its disk takes nothing: journal-000001: no space left"));
}

TEST_F(RunStatusTest, Disk_OfAShardStandsStill_IsNamedOnceItIsWorthTelling) {
  ArriveAndJoin();
  Change(0);
  shards_[0].report.set_disk_seconds(0.01);
  EXPECT_THAT(Describe().waiting_for(), ::testing::IsEmpty());
  shards_[0].report.set_disk_seconds(3);
  EXPECT_THAT(Describe().waiting_for(0).reason(), HasSubstr("its disk has not taken"));
}

TEST_F(RunStatusTest, Disk_OfTheCoordinatorIsFull_ShardZeroIsNamed) {
  ArriveAndJoin();
  Change(0);
  const SlowSave save{.since = now_ - absl::Seconds(2), .trouble = "coordinator.tmp: no space left"};
  const v1::Status status = DescribeRun(core_, shards_, history_, 0, now_, save);
  ASSERT_GE(status.waiting_for_size(), 1);
  EXPECT_EQ(status.waiting_for(0).shard_index(), 0u);
  EXPECT_THAT(status.waiting_for(0).reason(), HasSubstr("no space left"));
}

}  // namespace
}  // namespace lockstep::service
