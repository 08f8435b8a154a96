#include "server/core/resume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace lockstep::core {
namespace {

using ::testing::HasSubstr;
using Shards = std::vector<SealedShard>;

// Ready for round `next`; its newest version was completed in `generation`, and the one before in `before`.
SealedShard At(uint64_t next, uint64_t generation, uint64_t before) {
  return {.next = Round(next), .completed_in = Generation(generation), .completed_in_before = Generation(before)};
}
SealedShard Committed(uint64_t next, uint64_t generation) {
  return {.next = Round(next), .completed_in = Generation(generation), .committed = true};
}
SealedShard Blank() { return {.blank = true, .damage = "journal: gone"}; }

ResumeKnowledge Told(uint64_t round) { return {.announced = Round(round), .told = Round(round)}; }

void ExpectResumes(const Shards& shards, const ResumeKnowledge& known, uint64_t round) {
  const ResumePoint point = DecideResume(shards, known);
  EXPECT_EQ(point.lost, "");
  EXPECT_EQ(point.resume, Round(round));
  EXPECT_FALSE(point.at_beginning);
}

TEST(DecideResumeTest, NewRun_BeginsWithRoundZero) { ExpectResumes({Blank(), Blank()}, {}, 0); }

// Not what a shard says; but whatever one says, there is nothing before the beginning.
TEST(DecideResumeTest, GenerationsThatDifferBeforeTheFirstRound_GoOnWithTheFirstRound) {
  ExpectResumes({At(0, 1, 0), At(0, 2, 0)}, {}, 0);
}

TEST(DecideResumeTest, RoundThatSomeShardHasNotCompleted_IsCollectedAgain) {
  ExpectResumes({At(8, 1, 1), At(7, 1, 1)}, Told(0), 7);
}

TEST(DecideResumeTest, RoundThatAllHaveCompletedInOneGeneration_Stands) {
  ExpectResumes({At(8, 2, 1), At(8, 2, 1)}, Told(0), 8);
}

// Rule c: workers of the one may not have been workers of the other.
TEST(DecideResumeTest, RoundThatWasCompletedInTwoGenerations_IsUndone) {
  ExpectResumes({At(8, 1, 1), At(8, 2, 1)}, Told(0), 7);
}

TEST(DecideResumeTest, BlankShard_WhenWorkersMayHoldAVersion_HasLostItsMemory_AndSaysWhy) {
  const ResumePoint point = DecideResume({At(8, 1, 1), Blank()}, Told(0));
  EXPECT_THAT(point.lost, HasSubstr("shard 1 has lost its memory: it is ready for round 0, but the run had come to "
                                    "round 8 (journal: gone)"));
}

TEST(DecideResumeTest, ShardThatIsTwoRoundsBehind_HasLostItsMemory) {
  EXPECT_THAT(DecideResume({At(6, 1, 1), At(8, 1, 1)}, Told(0)).lost, HasSubstr("shard 0 has lost its memory"));
}

TEST(DecideResumeTest, ShardThatIsBehindWhereItWasToldToResume_HasLostItsMemory) {
  EXPECT_THAT(DecideResume({At(8, 1, 1), At(7, 1, 1)}, Told(8)).lost, HasSubstr("shard 1 has lost its memory"));
}

TEST(DecideResumeTest, ShardWhoseVersionIsOfAnotherGeneration_HasLostItsMemory) {
  EXPECT_THAT(DecideResume({At(7, 1, 1), At(8, 2, 2)}, Told(0)).lost,
              HasSubstr("shard 0 has lost its memory: its version 6 is from generation 1, but shard 1 has it from "
                        "generation 2"));
}

TEST(DecideResumeTest, VersionThatIsCommittedOnOneShard_AndNotThereOnAnother_IsLostMemory) {
  EXPECT_THAT(DecideResume({Committed(8, 2), At(7, 2, 2)}, Told(0)).lost,
              HasSubstr("shard 1 has lost its memory: version 7 is committed in generation 2 (shard 0)"));
}

TEST(DecideResumeTest, RunThatBeginsWithAVersion_TakesIt_UntilWorkersHaveLearntOfIt) {
  ResumeKnowledge known{.begins_with = Version(5)};
  const ResumePoint point = DecideResume({Blank(), At(6, 1, 1)}, known);
  EXPECT_EQ(point.resume, Round(6));
  EXPECT_TRUE(point.at_beginning);
  EXPECT_EQ(point.lost, "");
  known.announced = known.told = Round(6);
  EXPECT_THAT(DecideResume({Blank(), At(6, 1, 1)}, known).lost, HasSubstr("shard 0 has lost its memory"));
}

RestorableVersion Checkpoint(uint64_t version, uint64_t generation = 1) {
  return {Version(version), Generation(generation)};
}
using Lists = std::vector<std::vector<RestorableVersion>>;

TEST(DecideRollbackTest, NewestThatAllHave_OfTheSameGeneration) {
  const auto decide = [](const Lists& lists) { return DecideRollback(lists, {}); };
  EXPECT_EQ(decide({{Checkpoint(10), Checkpoint(20), Checkpoint(30)}, {Checkpoint(10), Checkpoint(20)}}),
            Checkpoint(20));
  EXPECT_EQ(decide({{Checkpoint(10), Checkpoint(20, 2)}, {Checkpoint(20, 1), Checkpoint(10)}}), Checkpoint(10));
  EXPECT_EQ(decide({{Checkpoint(10)}, {}}), std::nullopt);
  EXPECT_EQ(decide({}), std::nullopt);
}

// The run went back to version 10 in generation 3: what was version 20 then is not what version 20 is now.
TEST(DecideRollbackTest, CheckpointOfAHistoryThatWasGivenUp_IsPassedOver) {
  const std::vector<Abandoned> abandoned = {{.before = Generation(3), .after = Version(10)}};
  EXPECT_EQ(DecideRollback({{Checkpoint(10, 1), Checkpoint(20, 2)}}, abandoned), Checkpoint(10, 1));
  EXPECT_EQ(DecideRollback({{Checkpoint(10, 1), Checkpoint(20, 3)}}, abandoned), Checkpoint(20, 3));
}

}  // namespace
}  // namespace lockstep::core
