#include "server/core/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/server/core/effect_text.h"

namespace lockstep::core {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ModelSpec Model(int64_t elements = 4) { return {.tensors = {{.name = "w", .shape = {elements}}}}; }

// A coordinator of two shards and two workers, and events in few words. Each returns the effects as text.
class CoordinatorTest : public testing::Test {
 protected:
  template <class Event>
  std::vector<std::string> Do(const Event& event) {
    const CoordinatorMemory before = coordinator_.memory();
    CoordinatorEffects effects;
    coordinator_.Step(event, now_, effects);
    return Checked(before, effects);
  }
  // Whatever must outlive the process is made durable before anything else: checked here for every event of every test.
  std::vector<std::string> Checked(const CoordinatorMemory& before, CoordinatorEffects& effects) {
    const bool persists = !effects.empty() && std::holds_alternative<Persist>(effects.front());
    EXPECT_TRUE(persists || before == coordinator_.memory()) << "the memory changed, and nobody makes it durable";
    if (persists) effects.erase(effects.begin());
    return ToText(effects);
  }
  // The coordinator's process dies and comes back with what was durable.
  void Crash() { coordinator_ = CoordinatorCore(coordinator_.options(), coordinator_.memory(), now_); }

  std::vector<std::string> Join(uint64_t incarnation, std::string name, std::optional<Rank> rank = std::nullopt) {
    return Do(WorkerJoins{Incarnation(incarnation), std::move(name), rank, ""});
  }
  std::vector<std::string> Define(uint64_t incarnation, ModelSpec model = Model()) {
    return Do(WorkerDefines{Incarnation(incarnation), std::move(model)});
  }
  std::vector<std::string> Arrive(uint32_t shard, uint64_t incarnation) {
    return Do(ShardArrives{ShardIndex(shard), Incarnation(incarnation), "host:1", ""});
  }
  std::vector<std::string> Sealed(uint32_t shard, uint64_t incarnation, uint64_t generation, uint64_t next,
                                  uint64_t completed_in) {
    return Sealed(shard, incarnation, generation, next, completed_in, completed_in);
  }
  std::vector<std::string> Sealed(uint32_t shard, uint64_t incarnation, uint64_t generation, uint64_t next,
                                  uint64_t completed_in, uint64_t completed_in_before, bool committed = false) {
    return Do(ShardSealed{.shard = ShardIndex(shard),
                          .incarnation = Incarnation(incarnation),
                          .generation = Generation(generation),
                          .has = {.next = Round(next),
                                  .completed_in = Generation(completed_in),
                                  .completed_in_before = Generation(completed_in_before),
                                  .committed = committed}});
  }
  std::vector<std::string> Installed(uint32_t shard, uint64_t incarnation, uint64_t generation,
                                     std::string error = "") {
    return Do(ShardInstalled{ShardIndex(shard), Incarnation(incarnation), Generation(generation), std::move(error)});
  }
  std::vector<std::string> Leave(uint64_t incarnation) { return Do(WorkerLeaves{Incarnation(incarnation)}); }
  std::vector<std::string> Evict(uint32_t rank) {
    CoordinatorEffects effects;
    std::string name;
    const CoordinatorMemory before = coordinator_.memory();
    EXPECT_TRUE(coordinator_.Step(EvictRank{Rank(rank)}, now_, effects, name).ok());
    return Checked(before, effects);
  }

  void ArriveAndJoin() {
    Arrive(0, 1);
    Arrive(1, 2);
    Join(10, "a");
    Define(10);
    Join(11, "b");
    Define(11);
  }
  // Both shards answer with `next`, install and serve.
  void Change(uint64_t generation, uint64_t next, uint64_t completed_in) {
    Sealed(0, 1, generation, next, completed_in);
    Sealed(1, 2, generation, next, completed_in);
    Installed(0, 1, generation);
    Installed(1, 2, generation);
    ASSERT_EQ(coordinator_.state(), RunState::kTraining);
  }
  void Train() {
    ArriveAndJoin();
    Change(1, 0, 0);
  }
  void LetLeaseExpire() {
    now_ += absl::Seconds(6);
    Do(Tick{});
  }

  absl::Time now_ = absl::UnixEpoch();
  CoordinatorCore coordinator_{{.run_id = "r", .workers = 2, .shards = 2, .lease = absl::Seconds(5)}, now_};
};

// ---- Joining ----

TEST_F(CoordinatorTest, LastWorkerDefines_EverybodyIsThere_EveryShardIsSealed) {
  Join(10, "a");
  Define(10);
  Arrive(0, 1);
  Join(11, "b");
  EXPECT_THAT(Define(11), IsEmpty());
  EXPECT_THAT(Arrive(1, 2),
              ElementsAre("welcome shard 1", "seal shard 0 for generation 1", "seal shard 1 for generation 1"));
}

TEST_F(CoordinatorTest, Announcement_OnlyOneShardHasInstalled_Waits) {
  ArriveAndJoin();
  Sealed(0, 1, 1, 0, 0);
  EXPECT_THAT(Sealed(1, 2, 1, 0, 0), ElementsAre(HasSubstr("install generation 1 on shard 0, next is round 0"),
                                                 HasSubstr("install generation 1 on shard 1, next is round 0")));
  EXPECT_THAT(Installed(0, 1, 1), IsEmpty());
  EXPECT_THAT(coordinator_.UnansweredShards(), ElementsAre(ShardIndex(1)));
  EXPECT_THAT(Installed(1, 2, 1),
              ElementsAre(HasSubstr("announce generation 1, next is round 0"), HasSubstr("note: generation 1")));
}

TEST_F(CoordinatorTest, Join_OfAnotherRun_Refused) {
  EXPECT_THAT(Do(WorkerJoins{Incarnation(10), "a", std::nullopt, "other"}),
              ElementsAre(HasSubstr("belongs to run other")));
}

TEST_F(CoordinatorTest, Join_RankThatDoesNotExist_Refused) {
  EXPECT_THAT(Join(10, "a", Rank(2)), ElementsAre(HasSubstr("this run has ranks 0 to 1 (--workers 2)")));
}

TEST_F(CoordinatorTest, Join_AllRanksAreHeldByLiveWorkers_RefusedForNow) {
  Train();
  EXPECT_THAT(Join(12, "c"),
              ElementsAre(AllOf(HasSubstr("RESOURCE_EXHAUSTED"), HasSubstr("are held by live workers: there is"))));
  Do(WorkerLeaves{Incarnation(11)});
  EXPECT_THAT(Join(12, "c"), ElementsAre(HasSubstr("are held by live workers, or by workers that have left: there")));
}

TEST_F(CoordinatorTest, Define_AnotherModel_RefusedAndNobodyElseIsHarmed) {
  Arrive(0, 1);
  Arrive(1, 2);
  Join(10, "a");
  Define(10);
  Join(11, "b");
  EXPECT_THAT(Define(11, Model(5)), ElementsAre(HasSubstr("tensor 0 should be w float32[4], but is w float32[5]")));
  EXPECT_EQ(coordinator_.seats()[1].state, SeatState::kAbsent);
  Join(12, "b");
  EXPECT_THAT(Define(12), Contains("seal shard 0 for generation 1"));
}

// ---- Losing workers ----

TEST_F(CoordinatorTest, Lease_Expires_WorkerIsNamedButKeepsItsRank) {
  Train();
  now_ += absl::Seconds(4);
  Do(WorkerBeats{Incarnation(10)});
  now_ += absl::Seconds(2);
  EXPECT_THAT(Do(Tick{}), ElementsAre("note: worker 'b', rank 1, is lost: no heartbeat for 6s"));
  EXPECT_EQ(coordinator_.seats()[1].state, SeatState::kLost);
  EXPECT_THAT(Do(WorkerBeats{Incarnation(11)}), ElementsAre(HasSubstr("is back after 6s")));
  EXPECT_EQ(coordinator_.generation(), Generation(1));
}

TEST_F(CoordinatorTest, Join_SameName_TakesTheRankAtOnceAndFencesTheOldProcess) {
  Train();
  EXPECT_THAT(Join(21, "b"), ElementsAre(HasSubstr("refuse incarnation 11: PERMISSION_DENIED: fenced"),
                                         "welcome incarnation 21 as rank 1", HasSubstr("its replacement number 1")));
  EXPECT_THAT(Define(21), Contains("seal shard 0 for generation 2"));
  EXPECT_THAT(Do(WorkerBeats{Incarnation(11)}), ElementsAre(HasSubstr("fenced")));
  EXPECT_THAT(Join(11, "b"), ElementsAre(HasSubstr("fenced")));
}

TEST_F(CoordinatorTest, Join_OtherName_TakesTheRankOfALostWorker) {
  Train();
  now_ += absl::Seconds(6);
  Do(WorkerBeats{Incarnation(10)});
  Do(Tick{});
  EXPECT_THAT(Join(21, "c"), Contains("welcome incarnation 21 as rank 1"));
}

TEST_F(CoordinatorTest, Rejoin_SameIncarnation_WelcomedAndToldTheGenerationAgain) {
  Train();
  EXPECT_THAT(
      Join(11, "b"),
      ElementsAre("welcome incarnation 11 as rank 1",
                  HasSubstr("announce generation 1, next is round 0, ranks 0 (incarnation 10), 1 (incarnation 11), "
                            "to incarnations 11")));
  EXPECT_EQ(coordinator_.generation(), Generation(1));
}

TEST_F(CoordinatorTest, Evict_Worker_FencedAndItsRankIsFree) {
  Train();
  EXPECT_THAT(Evict(0), ElementsAre("note: worker 'a' is evicted from rank 0", HasSubstr("refuse incarnation 10")));
  EXPECT_EQ(coordinator_.state(), RunState::kWaitingForWorkers);
  EXPECT_THAT(Join(20, "a"), Contains("welcome incarnation 20 as rank 0"));
}

// ---- Changing generations ----

TEST_F(CoordinatorTest, Seals_OneShardIsAhead_ResumesAtTheOneBehind) {
  Train();
  Join(21, "b");
  Define(21);
  Sealed(0, 1, 2, 4, 1);
  EXPECT_THAT(Sealed(1, 2, 2, 3, 1), Contains(HasSubstr("install generation 2 on shard 0, next is round 3")));
}

TEST_F(CoordinatorTest, Seals_SameVersionOfDifferentGenerations_IsUndone) {
  Train();
  Join(21, "b");
  Define(21);
  Sealed(0, 1, 2, 4, 1);
  EXPECT_THAT(Sealed(1, 2, 2, 4, 2, /*completed_in_before=*/1),
              Contains(HasSubstr("install generation 2 on shard 0, next is round 3")));
}

// What the disks of shards forget when power is lost and nothing was synced.
TEST_F(CoordinatorTest, Seals_OneAheadAndTheVersionBeforeOfAnotherGeneration_RunFailsAndNamesTheShard) {
  Train();
  Arrive(0, 3);
  Sealed(0, 3, 2, 3, 1);
  EXPECT_THAT(Sealed(1, 2, 2, 4, 2, /*completed_in_before=*/2),
              ElementsAre(HasSubstr("shard 0 has lost its memory: its version 2 is from generation 1, but shard 1 has "
                                    "it from generation 2")));
}

TEST_F(CoordinatorTest, Seals_SameVersionOfDifferentGenerationsAsTheOneBefore_RunFails) {
  Train();
  Arrive(0, 3);
  Sealed(0, 3, 2, 4, 1);
  EXPECT_THAT(Sealed(1, 2, 2, 4, 3, /*completed_in_before=*/2),
              ElementsAre(HasSubstr("shard 0 has lost its memory: its version 2 is from generation 1")));
}

TEST_F(CoordinatorTest, Seals_OneIsBehindAVersionThatIsCommitted_RunFailsAndNamesTheShard) {
  Train();
  Arrive(0, 3);
  Sealed(0, 3, 2, 3, 1);
  EXPECT_THAT(Sealed(1, 2, 2, 4, 1, /*completed_in_before=*/0, /*committed=*/true),
              ElementsAre(HasSubstr("shard 0 has lost its memory: version 3 is committed in generation 1 (shard 1)")));
}

TEST_F(CoordinatorTest, Seals_MoreThanOneApart_RunFailsAndNamesTheShard) {
  Train();
  Arrive(1, 3);
  Sealed(0, 1, 2, 4, 1);
  EXPECT_THAT(Sealed(1, 3, 2, 0, 0), ElementsAre(HasSubstr("end the run: shard 1 has lost its memory")));
  EXPECT_EQ(coordinator_.state(), RunState::kFailed);
}

// All shards restart: none is ahead of the others, but the run has been further.
TEST_F(CoordinatorTest, Seals_AllBelowTheRoundResumedBefore_RunFails) {
  Train();
  Join(21, "b");
  Define(21);
  Change(2, 4, 1);
  Arrive(0, 3);
  Arrive(1, 4);
  Sealed(0, 3, 4, 0, 0);
  EXPECT_THAT(Sealed(1, 4, 4, 0, 0), ElementsAre(HasSubstr("has lost its memory")));
}

TEST_F(CoordinatorTest, Install_Impossible_RunFails) {
  Train();
  Arrive(1, 3);
  Sealed(0, 1, 2, 1, 1);
  Sealed(1, 3, 2, 1, 1);
  EXPECT_THAT(Installed(0, 1, 2, "version 0 is committed"), ElementsAre(HasSubstr("shard 0: version 0 is committed")));
}

TEST_F(CoordinatorTest, Change_OvertakenByAnother_OldAnswersDoNotCount) {
  Train();
  Join(21, "b");
  Define(21);
  Sealed(0, 1, 2, 1, 1);
  Join(22, "b");
  EXPECT_THAT(Define(22), Contains("seal shard 1 for generation 3"));
  EXPECT_THAT(Sealed(1, 2, 2, 1, 1), IsEmpty());
}

TEST_F(CoordinatorTest, Shard_ReconnectsDuringAChange_AskedAgain) {
  Train();
  Join(21, "b");
  Define(21);
  EXPECT_THAT(Arrive(0, 1),
              ElementsAre("welcome shard 0", "seal shard 0 for generation 3", "seal shard 1 for generation 3"));
}

TEST_F(CoordinatorTest, Shard_ReconnectsDuringAChangeThatLostAWorker_WaitsForTheWorker) {
  Train();
  Join(21, "b");
  Define(21);
  Evict(0);
  EXPECT_THAT(Arrive(0, 1), ElementsAre("welcome shard 0"));
  EXPECT_EQ(coordinator_.state(), RunState::kWaitingForWorkers);
  EXPECT_THAT(Sealed(1, 2, 2, 1, 1), IsEmpty());
  EXPECT_THAT(Installed(1, 2, 2), IsEmpty());
}

TEST_F(CoordinatorTest, Shard_OfAnotherRunOrOutOfRange_Refused) {
  EXPECT_THAT(Do(ShardArrives{ShardIndex(0), Incarnation(1), "", "other"}),
              ElementsAre(HasSubstr("belongs to run other")));
  EXPECT_THAT(Arrive(2, 1), ElementsAre(HasSubstr("there is no shard 2")));
}

TEST_F(CoordinatorTest, Define_AnotherModelInTheMiddleOfTheRun_ItsWorkerIsFencedAndAReplacementTrains) {
  Train();
  EXPECT_THAT(Define(11, Model(5)), ElementsAre(HasSubstr("the model does not match")));
  EXPECT_THAT(Join(11, "b"), ElementsAre(HasSubstr("fenced")));
  Join(21, "b");
  EXPECT_THAT(Define(21), Contains("seal shard 0 for generation 2"));
}

// ---- Coming back ----

TEST_F(CoordinatorTest, Crash_WhileTraining_SealsWithANewGenerationOnceAllShardsAreBack) {
  Train();
  Crash();
  EXPECT_THAT(Arrive(0, 1), ElementsAre("welcome shard 0"));
  EXPECT_THAT(Arrive(1, 2),
              ElementsAre("welcome shard 1", "seal shard 0 for generation 2", "seal shard 1 for generation 2"));
  Sealed(0, 1, 2, 4, 1);
  EXPECT_THAT(Sealed(1, 2, 2, 4, 1), Contains(HasSubstr("install generation 2 on shard 0, next is round 4")));
}

TEST_F(CoordinatorTest, Crash_InTheMiddleOfAChange_TheNextNumberIsLarger) {
  Train();
  Join(21, "b");
  Define(21);
  Sealed(0, 1, 2, 4, 1);
  Crash();
  Arrive(0, 1);
  EXPECT_THAT(Arrive(1, 2), Contains("seal shard 1 for generation 3"));
}

TEST_F(CoordinatorTest, Crash_WorkersComeBack_KeepTheirRanks) {
  Train();
  Crash();
  EXPECT_THAT(Join(11, "b"), ElementsAre("welcome incarnation 11 as rank 1"));
  EXPECT_THAT(Join(30, "c"), ElementsAre(HasSubstr("held by live workers")));
}

TEST_F(CoordinatorTest, Crash_FencedWorkerOfTheSameNameComesBack_IsStillFenced) {
  Train();
  Join(21, "b");
  Crash();
  EXPECT_THAT(Join(11, "b"), ElementsAre(HasSubstr("fenced")));
}

TEST_F(CoordinatorTest, Crash_AWorkerHasLeft_IsNotWaitedFor) {
  Train();
  Leave(10);
  Crash();
  Arrive(0, 1);
  EXPECT_THAT(Arrive(1, 2), Contains("seal shard 0 for generation 3"));
  EXPECT_THAT(Join(10, "a"), ElementsAre("acknowledge that incarnation 10 leaves"));
}

TEST_F(CoordinatorTest, Crash_AllHaveLeft_RunIsStillDone) {
  Train();
  Leave(10);
  Leave(11);
  Crash();
  EXPECT_EQ(coordinator_.state(), RunState::kDone);
  EXPECT_THAT(Arrive(0, 1), Contains("end the run: done"));
}

TEST_F(CoordinatorTest, Crash_ShardComesBackWithItsVersions_RunGoesOn) {
  Train();
  Crash();
  Arrive(0, 7);
  Arrive(1, 8);
  Sealed(0, 7, 2, 0, 0);
  EXPECT_THAT(Sealed(1, 8, 2, 0, 0), Contains(HasSubstr("install generation 2 on shard 0, next is round 0")));
}

TEST_F(CoordinatorTest, Crash_ShardComesBackBlank_RunFails) {
  Train();
  Crash();
  Arrive(0, 1);
  Arrive(1, 8);
  Sealed(0, 1, 2, 0, 0);
  EXPECT_THAT(Do(ShardSealed{ShardIndex(1), Incarnation(8), Generation(2), {.blank = true}}),
              ElementsAre(HasSubstr("shard 1 has lost its memory")));
}

TEST_F(CoordinatorTest, Memory_OfAnotherNumberOfWorkers_IsRefusedWithBothNumbers) {
  CoordinatorMemory memory = coordinator_.memory();
  memory.workers = 5;
  EXPECT_THAT(CoordinatorCore::CheckMemory(coordinator_.options(), memory).ToString(),
              AllOf(HasSubstr("--workers 5"), HasSubstr("--workers 2")));
}

// ---- Leaving ----

TEST_F(CoordinatorTest, Leave_OneOfTwo_TheOtherGoesOn) {
  Train();
  EXPECT_THAT(Leave(10), Contains("seal shard 0 for generation 2"));
  Sealed(0, 1, 2, 5, 1);
  EXPECT_THAT(Sealed(1, 2, 2, 5, 1), Contains(HasSubstr("next is round 5, ranks 1 (incarnation 11)")));
}

TEST_F(CoordinatorTest, Leave_TheLastOne_RunIsDone) {
  Train();
  Leave(10);
  EXPECT_THAT(Leave(11), Contains("end the run: done"));
  EXPECT_EQ(coordinator_.state(), RunState::kDone);
}

TEST_F(CoordinatorTest, Leave_AcknowledgementWasLost_JoinIsAnsweredWithIt) {
  Train();
  Leave(10);
  EXPECT_THAT(Join(10, "a"), ElementsAre("acknowledge that incarnation 10 leaves"));
  EXPECT_THAT(Join(20, "a"), ElementsAre("acknowledge that incarnation 20 leaves"));
}

TEST_F(CoordinatorTest, Join_RunHasFailed_RefusedWithTheReason) {
  Train();
  Arrive(1, 3);
  Sealed(0, 1, 2, 4, 1);
  Sealed(1, 3, 2, 0, 0);
  EXPECT_THAT(Join(21, "b"), ElementsAre(HasSubstr("the run has failed: shard 1 has lost its memory")));
  EXPECT_THAT(Arrive(0, 1), Contains(HasSubstr("end the run: shard 1")));
}

TEST_F(CoordinatorTest, Tick_BeforeTheLeaseExpires_NobodyIsLost) {
  Train();
  now_ += absl::Seconds(5);
  EXPECT_THAT(Do(Tick{}), IsEmpty());
  LetLeaseExpire();
  EXPECT_EQ(coordinator_.seats()[0].state, SeatState::kLost);
  EXPECT_THAT(Do(Tick{}), Not(Contains(HasSubstr("is lost"))));
}

}  // namespace
}  // namespace lockstep::core
