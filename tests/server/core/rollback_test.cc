// The coordinator's decisions when a shard has lost what it had, and when a run begins with a checkpoint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/core/coordinator.h"
#include "tests/server/core/effect_text.h"

namespace lockstep::core {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Two shards, one worker.
class RollbackTest : public ::testing::Test {
 protected:
  template <class Event>
  std::vector<std::string> Do(const Event& event) {
    const CoordinatorMemory before = coordinator_.memory();
    CoordinatorEffects effects;
    coordinator_.Step(event, now_, effects);
    const bool persists = !effects.empty() && std::holds_alternative<Persist>(effects.front());
    EXPECT_TRUE(persists || before == coordinator_.memory()) << "the memory changed, and nobody makes it durable";
    last_ = effects;
    return ToText(effects);
  }
  void Crash() { coordinator_ = CoordinatorCore(coordinator_.options(), coordinator_.memory(), now_); }
  void ArriveAndJoin() {
    Do(ShardArrives{ShardIndex(0), Incarnation(1), "host:1", ""});
    Do(ShardArrives{ShardIndex(1), Incarnation(2), "host:2", ""});
    Do(WorkerJoins{Incarnation(10), "a", std::nullopt, ""});
    Do(WorkerDefines{Incarnation(10), {.tensors = {{.name = "w", .shape = {4}}}}});
  }
  std::vector<std::string> Sealed(uint32_t shard, uint64_t incarnation, uint64_t generation, uint64_t next, bool blank,
                                  std::string damage = "") {
    return Do(ShardSealed{.shard = ShardIndex(shard),
                          .incarnation = Incarnation(incarnation),
                          .generation = Generation(generation),
                          .has = {.next = Round(next),
                                  .completed_in = Generation(blank ? 0 : 1),
                                  .blank = blank,
                                  .damage = std::move(damage)}});
  }
  std::vector<std::string> Installed(uint32_t shard, uint64_t incarnation, uint64_t generation) {
    return Do(ShardInstalled{ShardIndex(shard), Incarnation(incarnation), Generation(generation), ""});
  }
  std::vector<std::string> Restorable(uint32_t shard, uint64_t incarnation, uint64_t generation,
                                      const std::vector<uint64_t>& versions, std::vector<std::string> damaged = {}) {
    ShardRestorable event{ShardIndex(shard), Incarnation(incarnation), Generation(generation), {}, std::move(damaged)};
    for (uint64_t version : versions) event.versions.push_back({Version(version), Generation(1)});
    return Do(event);
  }
  // Generation 1 trains; then shard 1 comes back as `incarnation` with nothing, while shard 0 has come to version 24.
  std::vector<std::string> LoseShard(uint64_t incarnation = 3) {
    ArriveAndJoin();
    Sealed(0, 1, 1, 0, true);
    Sealed(1, 2, 1, 0, true);
    Installed(0, 1, 1);
    Installed(1, 2, 1);
    Do(ShardArrives{ShardIndex(1), Incarnation(incarnation), "host:2", ""});
    Sealed(0, 1, 2, 25, false);
    return Sealed(1, incarnation, 2, 0, true, "journal-1 at byte 7");
  }
  // The run is to go back to version 10; but both shards come back, as 4 and 5, before either has restored it. Returns
  // the generation that begins then.
  uint64_t OvertakeTheRollback() {
    LoseShard();
    Restorable(0, 1, 2, {10});
    Restorable(1, 3, 2, {10});
    Do(ShardArrives{ShardIndex(0), Incarnation(4), "host:1", ""});
    Do(ShardArrives{ShardIndex(1), Incarnation(5), "host:2", ""});
    return coordinator_.generation().value();
  }

  absl::Time now_ = absl::UnixEpoch();
  CoordinatorEffects last_;
  CoordinatorCore coordinator_{{.run_id = "r", .workers = 1, .shards = 2, .checkpoints = true}, now_};
};

TEST_F(RollbackTest, ShardHasLostEverything_AllAreAskedWhatTheyCanRestore) {
  EXPECT_THAT(LoseShard(),
              ElementsAre(AllOf(HasSubstr("shard 1 has lost its memory"), HasSubstr("journal-1 at byte 7")),
                          HasSubstr("ask shard 0"), HasSubstr("ask shard 1")));
  EXPECT_EQ(coordinator_.UnansweredShards(), (std::vector<ShardIndex>{ShardIndex(0), ShardIndex(1)}));
}

TEST_F(RollbackTest, AllHaveAnswered_NewestCommonVersionIsRestoredAndAnnouncedAsARollback) {
  LoseShard();
  EXPECT_THAT(Restorable(0, 1, 2, {10, 20}), IsEmpty());
  EXPECT_THAT(
      Restorable(1, 3, 2, {10}, {"version 20 is torn"}),
      ElementsAre("persist", AllOf(HasSubstr("ROLLED BACK from version 24"), HasSubstr("version 20 is torn")),
                  HasSubstr("next is round 11, ranks 0 (incarnation 10), restoring that"), HasSubstr("on shard 1")));
  EXPECT_EQ(coordinator_.rollback()->to, Version(10));
  EXPECT_EQ(coordinator_.rollback()->from, Version(24));
  EXPECT_THAT(Installed(0, 1, 2), IsEmpty());
  EXPECT_THAT(Installed(1, 3, 2), Contains(HasSubstr("announce generation 2, next is round 11")));
  bool told = false;
  for (const CoordinatorEffect& effect : last_) {
    const auto* announce = std::get_if<AnnounceGeneration>(&effect);
    if (announce != nullptr) told = announce->rolled_back_in == Generation(2);
  }
  EXPECT_TRUE(told);
}

TEST_F(RollbackTest, NothingInCommon_RunFails) {
  LoseShard();
  Restorable(0, 1, 2, {10, 20});
  EXPECT_THAT(Restorable(1, 3, 2, {}), ElementsAre(HasSubstr("end the run: shard 1 has lost its memory")));
  EXPECT_EQ(coordinator_.state(), RunState::kFailed);
}

TEST_F(RollbackTest, CoordinatorDiesWhileShardsRestore_ItDecidesAnewAndKeepsWhatHappened) {
  LoseShard();
  Restorable(0, 1, 2, {10});
  Restorable(1, 3, 2, {10});
  Crash();
  Do(ShardArrives{ShardIndex(0), Incarnation(1), "host:1", ""});
  Do(ShardArrives{ShardIndex(1), Incarnation(3), "host:2", ""});
  Sealed(0, 1, 3, 11, false);                                                 // has restored
  EXPECT_THAT(Sealed(1, 3, 3, 0, true), Contains(HasSubstr("ask shard 0")));  // has not
  Restorable(0, 1, 3, {10});
  EXPECT_THAT(Restorable(1, 3, 3, {10}), Contains(HasSubstr("next is round 11")));
  EXPECT_EQ(coordinator_.rollback()->times, 2u);
}

// Shard 0 has committed version 24, and cannot undo it, but shard 1 has gone back to 23.
TEST_F(RollbackTest, OvertakenWhenOneShardHasRestored_AllGoBackOnceMore) {
  LoseShard();
  Restorable(0, 1, 2, {23});
  Restorable(1, 3, 2, {23});
  Do(ShardArrives{ShardIndex(0), Incarnation(4), "host:1", ""});  // has died before it has restored
  Do(ShardSealed{.shard = ShardIndex(0),
                 .incarnation = Incarnation(4),
                 .generation = Generation(3),
                 .has = {.next = Round(25), .completed_in = Generation(1), .committed = true}});
  EXPECT_THAT(Sealed(1, 3, 3, 24, false), Contains(HasSubstr("ask shard 0")));
  Restorable(0, 4, 3, {23});
  EXPECT_THAT(Restorable(1, 3, 3, {23}), Contains(HasSubstr("next is round 24")));
  EXPECT_EQ(coordinator_.restoring(), Restoring::kRollback);
  EXPECT_EQ(coordinator_.rollback()->from, Version(24));
  EXPECT_FALSE(coordinator_.rollback()->done);
}

TEST_F(RollbackTest, OvertakenWhenAllHaveRestored_RunGoesOnAndKnowsThatItHasGoneBack) {
  LoseShard();
  Restorable(0, 1, 2, {10});
  Restorable(1, 3, 2, {10});
  Do(ShardArrives{ShardIndex(0), Incarnation(4), "host:1", ""});
  Sealed(0, 4, 3, 11, false);
  EXPECT_THAT(Sealed(1, 3, 3, 11, false), Contains(HasSubstr("next is round 11")));
  EXPECT_EQ(coordinator_.restoring(), Restoring::kNothing);
  Installed(0, 4, 3);
  EXPECT_THAT(Installed(1, 3, 3), Contains(HasSubstr("announce generation 3")));
  EXPECT_TRUE(coordinator_.rollback()->done);
  EXPECT_TRUE(coordinator_.RestoredSince(Generation(1)));
  EXPECT_FALSE(coordinator_.RestoredSince(Generation(3)));
}

// A disk was only away: both shards come back with all that they had before either has restored anything.
TEST_F(RollbackTest, OvertakenWhenAllHaveWhatTheyHad_NothingIsGivenUp) {
  const uint64_t generation = OvertakeTheRollback();
  Sealed(0, 4, generation, 25, false);
  EXPECT_THAT(Sealed(1, 5, generation, 25, false), Contains(HasSubstr("next is round 25")));
  Installed(0, 4, generation);
  EXPECT_THAT(Installed(1, 5, generation), Contains(HasSubstr("next is round 25")));
  EXPECT_EQ(coordinator_.rollback()->to, Version(24));
  // So a checkpoint of those versions can be gone back to later.
  Do(ShardArrives{ShardIndex(1), Incarnation(6), "host:2", ""});
  const uint64_t next = coordinator_.generation().value();
  Sealed(0, 4, next, 25, false);
  Sealed(1, 6, next, 0, true);
  Restorable(0, 4, next, {10, 20});
  EXPECT_THAT(Restorable(1, 6, next, {10, 20}), Contains(HasSubstr("next is round 21")));
}

// The same, but one lacks the newest version, which workers may have held: that one is given up.
TEST_F(RollbackTest, OvertakenWhenOneLacksTheNewestVersion_ThatOneIsGivenUp) {
  const uint64_t generation = OvertakeTheRollback();
  Do(ShardSealed{.shard = ShardIndex(0),
                 .incarnation = Incarnation(4),
                 .generation = Generation(generation),
                 .has = {.next = Round(25), .completed_in = Generation(1), .completed_in_before = Generation(1)}});
  EXPECT_THAT(Sealed(1, 5, generation, 24, false), Contains(HasSubstr("next is round 24")));
  Installed(0, 4, generation);
  Installed(1, 5, generation);
  EXPECT_EQ(coordinator_.rollback()->to, Version(23));
  EXPECT_EQ(coordinator_.memory().abandoned, (std::vector<Abandoned>{{.before = Generation(2), .after = Version(23)}}));
}

// Found by the simulation: a manifest may come late, when the run has gone back to an older version already.
TEST_F(RollbackTest, CheckpointOfAHistoryThatWasGivenUp_IsNeverGoneBackTo) {
  LoseShard();
  Restorable(0, 1, 2, {10});
  Restorable(1, 3, 2, {10});
  Installed(0, 1, 2);
  Installed(1, 3, 2);
  Crash();
  Do(ShardArrives{ShardIndex(0), Incarnation(1), "host:1", ""});
  Do(ShardArrives{ShardIndex(1), Incarnation(5), "host:2", ""});
  Sealed(0, 1, 3, 13, false);
  Sealed(1, 5, 3, 0, true);
  Restorable(0, 1, 3, {10, 20});
  EXPECT_THAT(Restorable(1, 5, 3, {10, 20}), Contains(HasSubstr("next is round 11")));
}

TEST_F(RollbackTest, RunBeginsWithACheckpoint_BlankShardsRestoreItAndNothingIsRolledBack) {
  coordinator_ =
      CoordinatorCore({.run_id = "r", .workers = 1, .shards = 2, .begins_with = Version(7), .checkpoints = true}, now_);
  ArriveAndJoin();
  Sealed(0, 1, 1, 0, true);
  EXPECT_THAT(Sealed(1, 2, 1, 0, true),
              ElementsAre(HasSubstr("next is round 8, ranks 0 (incarnation 10), restoring that"),
                          HasSubstr("next is round 8, ranks 0 (incarnation 10), restoring that")));
  EXPECT_EQ(coordinator_.restoring(), Restoring::kBeginning);
  Installed(0, 1, 1);
  // Shard 1 dies before it has restored: nobody holds anything yet, and all do it again.
  Do(ShardArrives{ShardIndex(1), Incarnation(3), "host:2", ""});
  Sealed(0, 1, 2, 8, false);
  EXPECT_THAT(Sealed(1, 3, 2, 0, true),
              Contains(HasSubstr("next is round 8, ranks 0 (incarnation 10), restoring that")));
  Installed(0, 1, 2);
  EXPECT_THAT(Installed(1, 3, 2), Contains(HasSubstr("announce generation 2, next is round 8")));
  EXPECT_FALSE(coordinator_.rollback().has_value());
}

// Starting again would end the same way: nobody is told to.
TEST_F(RollbackTest, RunBeginsWithAFileThatDoesNotFit_RunFailsForGood) {
  coordinator_ =
      CoordinatorCore({.run_id = "r", .workers = 1, .shards = 2, .begins_with = Version(0), .checkpoints = true}, now_);
  ArriveAndJoin();
  Sealed(0, 1, 1, 0, true);
  Sealed(1, 2, 1, 0, true);
  Do(ShardInstalled{ShardIndex(0), Incarnation(1), Generation(1), "a.safetensors has no tensor w",
                    absl::StatusCode::kInvalidArgument});
  EXPECT_EQ(coordinator_.state(), RunState::kFailed);
  EXPECT_THAT(Do(WorkerJoins{Incarnation(11), "b", std::nullopt, ""}),
              Contains(AllOf(HasSubstr("INVALID_ARGUMENT"), HasSubstr("a.safetensors has no tensor w"),
                             HasSubstr("another --restore"))));
}

TEST_F(RollbackTest, RunBeginsWithACheckpointOfAnotherModel_WorkerIsRefused) {
  coordinator_ = CoordinatorCore({.run_id = "r",
                                  .workers = 1,
                                  .shards = 2,
                                  .begins_with = Version(7),
                                  .model = ModelSpec{.tensors = {{.name = "w", .shape = {5}}}},
                                  .checkpoints = true},
                                 now_);
  Do(WorkerJoins{Incarnation(10), "a", std::nullopt, ""});
  EXPECT_THAT(Do(WorkerDefines{Incarnation(10), {.tensors = {{.name = "w", .shape = {4}}}}}),
              Contains(HasSubstr("refuse incarnation 10: INVALID_ARGUMENT")));
}

}  // namespace
}  // namespace lockstep::core
