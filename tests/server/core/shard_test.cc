#include "server/core/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/server/core/effect_text.h"

namespace lockstep::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr Incarnation kShard(7);

// Incarnation of a rank's first process.
Member First(uint32_t rank) { return {Rank(rank), Incarnation(100 + rank)}; }

// A shard, and events in few words. Each returns the effects as text.
class ShardTest : public testing::Test {
 protected:
  template <class Event>
  std::vector<std::string> Do(const Event& event) {
    ShardEffects effects;
    shard_.Step(event, now_, effects);
    return ToText(effects);
  }

  std::vector<std::string> Seal(uint64_t generation) { return Do(SealShard{Generation(generation), kShard}); }
  std::vector<std::string> Install(uint64_t generation, uint64_t resume, std::vector<Member> members, uint32_t blocks) {
    return Do(InstallGeneration{Generation(generation), kShard, Round(resume), std::move(members), blocks});
  }
  std::vector<std::string> Attach(Member who, uint64_t generation, uint64_t next, uint32_t connection = 0,
                                  uint32_t connections = 1) {
    return Do(AttachWorker{who, Generation(generation), Round(next), connection, connections});
  }
  std::vector<std::string> Contribute(Member who, uint64_t generation, uint64_t round, uint32_t slot,
                                      float weight = 1) {
    return Do(ContributeBlock{who, Generation(generation), Round(round), Slot(slot), weight});
  }
  std::vector<std::string> Empty(Member who, uint64_t generation, uint64_t round, float weight = 0) {
    return Do(ContributeEmpty{who, Generation(generation), Round(round), weight});
  }
  std::vector<std::string> Reduced(uint32_t slot) { return Do(BlockReduced{Slot(slot)}); }

  // Generation 1 of `workers` ranks, at round 0.
  void Serve(uint32_t workers, uint32_t blocks) {
    std::vector<Member> members;
    for (uint32_t r = 0; r < workers; ++r) members.push_back(First(r));
    Seal(1);
    Install(1, 0, std::move(members), blocks);
  }
  // The same, with version 0 complete.
  void ServeFirstVersion(uint32_t workers, uint32_t blocks) {
    Serve(workers, blocks);
    for (uint32_t s = 0; s < blocks; ++s) Contribute(First(0), 1, 0, s);
    for (uint32_t s = 0; s < blocks; ++s) Reduced(s);
    ASSERT_EQ(shard_.next_round(), Round(1));
  }

  ShardCore shard_{kShard};
  absl::Time now_ = absl::UnixEpoch();
};

// ---- Rounds ----

TEST_F(ShardTest, RoundZero_LowestRankContributes_VersionZeroIsComplete) {
  Serve(/*workers=*/2, /*blocks=*/1);
  EXPECT_THAT(Attach(First(1), 1, 0), IsEmpty());
  EXPECT_THAT(Contribute(First(0), 1, 0, 0), ElementsAre("keep the payload of rank 0 for block 0",
                                                         "reduce block 0 of round 0 from ranks 0 (weight 1)"));
  EXPECT_THAT(Reduced(0),
              ElementsAre("send block 0 of version 0, generation 1, to 1/0",
                          "say that version 0 is complete since generation 1, participants 0, generation 1, "
                          "to 1/0"));
  EXPECT_TRUE(shard_.tentative());
}

TEST_F(ShardTest, RoundZero_OtherRankContributes_Rejected) {
  Serve(2, 1);
  EXPECT_THAT(Contribute(First(1), 1, 0, 0),
              ElementsAre(HasSubstr("nothing in round 0 from a rank other than the lowest")));
}

TEST_F(ShardTest, Block_AllContributions_ReducedInRankOrderWhateverTheArrival) {
  ServeFirstVersion(2, 2);
  EXPECT_THAT(Contribute(First(1), 1, 1, 0, 3),
              ElementsAre("commit version 0", "keep the payload of rank 1 for block 0"));
  EXPECT_THAT(Contribute(First(0), 1, 1, 0, 2),
              ElementsAre("keep the payload of rank 0 for block 0",
                          "reduce block 0 of round 1 from ranks 0 (weight 2), 1 (weight 3)"));
}

TEST_F(ShardTest, Contribution_SentTwice_CountsOnce) {
  ServeFirstVersion(2, 1);
  Contribute(First(0), 1, 1, 0);
  EXPECT_THAT(Contribute(First(0), 1, 1, 0), IsEmpty());
  EXPECT_EQ(shard_.duplicates(), 1);
}

TEST_F(ShardTest, Contribution_ToARoundThatIsOver_Ignored) {
  ServeFirstVersion(1, 1);
  EXPECT_THAT(Contribute(First(0), 1, 0, 0), IsEmpty());
  EXPECT_EQ(shard_.duplicates(), 1);
}

TEST_F(ShardTest, Contribution_OfALaterRound_Rejected) {
  ServeFirstVersion(2, 1);
  EXPECT_THAT(Contribute(First(0), 1, 2, 0), ElementsAre(HasSubstr("round 2 came; expected round 1")));
}

TEST_F(ShardTest, Contribution_ToABlockThatIsNotHere_Rejected) {
  ServeFirstVersion(1, 1);
  EXPECT_THAT(Contribute(First(0), 1, 1, 5), ElementsAre(HasSubstr("block 5 of this shard came; it holds 1")));
}

TEST_F(ShardTest, Weight_NotANumberOrNegativeOrChanged_Rejected) {
  ServeFirstVersion(2, 2);
  EXPECT_THAT(Contribute(First(0), 1, 1, 0, NAN), ElementsAre(HasSubstr("a number from 0 to")));
  EXPECT_THAT(Contribute(First(0), 1, 1, 0, -1), ElementsAre(HasSubstr("a number from 0 to")));
  Contribute(First(0), 1, 1, 0, 4);
  EXPECT_THAT(Contribute(First(0), 1, 1, 1, 5), ElementsAre(HasSubstr("expected 4 as in its other blocks")));
}

TEST_F(ShardTest, EmptyContribution_WeightZero_CountsForEveryBlock) {
  ServeFirstVersion(2, 1);
  Contribute(First(0), 1, 1, 0, 2);
  EXPECT_THAT(Empty(First(1), 1, 1), ElementsAre("reduce block 0 of round 1 from ranks 0 (weight 2), 1 (weight 0)"));
}

TEST_F(ShardTest, EmptyContribution_WithWeight_Rejected) {
  ServeFirstVersion(2, 1);
  EXPECT_THAT(Empty(First(1), 1, 1, 3), ElementsAre(HasSubstr("only weight 0 may come without")));
}

TEST_F(ShardTest, ShardWithoutBlocks_EmptyContributions_CompleteTheRound) {
  Serve(2, 0);
  Attach(First(0), 1, 0);
  EXPECT_THAT(Empty(First(0), 1, 0, 1), ElementsAre(HasSubstr("version 0 is complete")));
  EXPECT_THAT(Empty(First(0), 1, 1, 1), ElementsAre("commit version 0"));
  EXPECT_THAT(Empty(First(1), 1, 1, 1), ElementsAre(HasSubstr("participants 0, 1")));
}

TEST_F(ShardTest, MoreThanEightRanks_GroupsAreSummedFirst) {
  ServeFirstVersion(9, 1);
  for (uint32_t r = 0; r < 7; ++r) Contribute(First(r), 1, 1, 0);
  EXPECT_THAT(Contribute(First(8), 1, 1, 0),
              ElementsAre("keep the payload of rank 8 for block 0", "sum group 1 of block 0: ranks 8 (weight 1)"));
  EXPECT_THAT(Contribute(First(7), 1, 1, 0),
              ElementsAre("keep the payload of rank 7 for block 0", HasSubstr("sum group 0")));
  EXPECT_THAT(Do(GroupSummed{Slot(0), 0}), IsEmpty());
  EXPECT_THAT(Do(GroupSummed{Slot(0), 1}), ElementsAre(HasSubstr("reduce block 0 of round 1 by groups")));
}

TEST_F(ShardTest, MissingBlocks_Straggler_IsNamed) {
  ServeFirstVersion(2, 3);
  for (uint32_t s = 0; s < 3; ++s) Contribute(First(0), 1, 1, s);
  Contribute(First(1), 1, 1, 1);
  const std::vector<Missing> missing = shard_.MissingBlocks();
  ASSERT_EQ(missing.size(), 2);
  EXPECT_EQ(missing[0].blocks, 0);
  EXPECT_EQ(missing[1].rank, Rank(1));
  EXPECT_EQ(missing[1].blocks, 2);
}

// ---- Streams ----

TEST_F(ShardTest, Attach_WorkerLacksTheVersion_GetsAllOfIt) {
  ServeFirstVersion(1, 2);
  EXPECT_THAT(Attach(First(0), 1, 0),
              ElementsAre("send block 0 of version 0, generation 1, to 0/0",
                          "send block 1 of version 0, generation 1, to 0/0", HasSubstr("version 0 is complete")));
}

TEST_F(ShardTest, Attach_InTheMiddleOfARound_GetsTheBlocksThatAreClosed) {
  ServeFirstVersion(1, 2);
  Contribute(First(0), 1, 1, 1);
  Reduced(1);
  EXPECT_THAT(Attach(First(0), 1, 1), ElementsAre("send block 1 of version 1, generation 1, to 0/0"));
}

TEST_F(ShardTest, Attach_SecondOfTwoConnections_GetsItsOwnBlocksOnly) {
  ServeFirstVersion(1, 3);
  EXPECT_THAT(Attach(First(0), 1, 0, 1, 2), ElementsAre("send block 1 of version 0, generation 1, to 0/1",
                                                        HasSubstr("say that version 0 is complete")));
}

TEST_F(ShardTest, Complete_TwoConnections_FollowsTheLastBlockOnItsConnection) {
  ServeFirstVersion(1, 2);
  Attach(First(0), 1, 1, 0, 2);
  Attach(First(0), 1, 1, 1, 2);
  for (uint32_t slot : {0, 1}) Contribute(First(0), 1, 1, slot);
  EXPECT_THAT(Reduced(0), ElementsAre("send block 0 of version 1, generation 1, to 0/0"));
  EXPECT_THAT(Reduced(1),
              ElementsAre("send block 1 of version 1, generation 1, to 0/1",
                          "say that version 1 is complete since generation 1, participants 0, generation 1, "
                          "to 0/1"));
}

// The worker has sent this attach before it held version 0, and its empty contribution went over another connection.
TEST_F(ShardTest, Attach_OvertakenByAContribution_GetsTheRoundInProgress) {
  ServeFirstVersion(1, 3);
  Attach(First(0), 1, 0, 0, 2);
  Empty(First(0), 1, 1);
  Reduced(1);
  EXPECT_THAT(Attach(First(0), 1, 0, 1, 2), ElementsAre("send block 1 of version 1, generation 1, to 0/1"));
}

TEST_F(ShardTest, Attach_OtherIncarnation_Fenced) {
  ServeFirstVersion(1, 1);
  EXPECT_THAT(Attach({Rank(0), Incarnation(5)}, 1, 0), ElementsAre(HasSubstr("fenced")));
}

TEST_F(ShardTest, Attach_OlderGeneration_Ignored) {
  ServeFirstVersion(1, 1);
  Seal(2);
  Install(2, 1, {First(0)}, 1);
  EXPECT_THAT(Attach(First(0), 1, 0), IsEmpty());
  EXPECT_EQ(shard_.stale(), 1);
}

TEST_F(ShardTest, Attach_NewerGeneration_ToldToAttachAgain) {
  ServeFirstVersion(1, 1);
  EXPECT_THAT(Attach(First(0), 2, 0), ElementsAre(HasSubstr("attach again")));
}

TEST_F(ShardTest, Detach_ThenBlockCloses_NothingIsSent) {
  ServeFirstVersion(1, 1);
  Attach(First(0), 1, 1);
  Do(DetachWorker{Rank(0), 0});
  Contribute(First(0), 1, 1, 0);
  EXPECT_THAT(Reduced(0), IsEmpty());
}

// ---- Generations ----

TEST_F(ShardTest, NewShard_BeforeInstall_ServesNothing) {
  EXPECT_FALSE(shard_.serving());
  EXPECT_THAT(Contribute(First(0), 0, 0, 0), ElementsAre(HasSubstr("it holds 0")));
  EXPECT_THAT(Empty(First(0), 0, 0), IsEmpty());
  EXPECT_EQ(shard_.stale(), 1);
}

TEST_F(ShardTest, Seal_ForAnotherIncarnation_Ignored) {
  EXPECT_THAT(Do(SealShard{Generation(1), Incarnation(8)}), IsEmpty());
}

TEST_F(ShardTest, Seal_WhileReducing_AnsweredWhenTheReductionHasEnded) {
  ServeFirstVersion(1, 1);
  Contribute(First(0), 1, 1, 0);
  EXPECT_THAT(Seal(2), ElementsAre("drop contributions"));
  EXPECT_THAT(
      Reduced(0),
      ElementsAre("sealed for generation 2, next is round 2, newest version is of generation 1, the one before of 1"));
}

TEST_F(ShardTest, Contribution_WhileSealed_Stale) {
  ServeFirstVersion(1, 1);
  Seal(2);
  EXPECT_THAT(Contribute(First(0), 1, 1, 0), IsEmpty());
  EXPECT_EQ(shard_.stale(), 1);
}

TEST_F(ShardTest, Install_OlderThanTheSeal_Ignored) {
  ServeFirstVersion(1, 1);
  Seal(2);
  Seal(3);
  EXPECT_THAT(Install(2, 1, {First(0)}, 1), IsEmpty());
  EXPECT_EQ(shard_.generation(), Generation(1));
}

TEST_F(ShardTest, Install_ResumesAtTheTentativeVersion_UndoesAllOfIt) {
  ServeFirstVersion(1, 2);
  EXPECT_THAT(Seal(2), ElementsAre("drop contributions", HasSubstr("next is round 1")));
  EXPECT_THAT(Install(2, 0, {First(0)}, 2),
              ElementsAre("drop contributions", "undo blocks 0, 1", "installed generation 2"));
  EXPECT_EQ(shard_.next_round(), Round(0));
}

TEST_F(ShardTest, UndoneVersion_NextSeal_AnswersWithTheGenerationOfTheOneBefore) {
  ServeFirstVersion(1, 1);
  Seal(2);
  Install(2, 1, {First(0)}, 1);
  Contribute(First(0), 2, 1, 0);
  Reduced(0);
  Seal(3);
  EXPECT_THAT(Install(3, 1, {First(0)}, 1),
              ElementsAre("drop contributions", "undo blocks 0", "installed generation 3"));
  EXPECT_THAT(Seal(4),
              ElementsAre("drop contributions",
                          "sealed for generation 4, next is round 1, newest version is of generation 1, committed"));
}

// A group's sum may have ended after the seal has dropped everything: it must not be left for the new generation.
TEST_F(ShardTest, Seal_WhileAGroupIsSummed_ItsSumIsDroppedAtInstall) {
  ServeFirstVersion(9, 1);
  Contribute(First(8), 1, 1, 0);
  EXPECT_THAT(Seal(2), ElementsAre("drop contributions"));
  EXPECT_THAT(Do(GroupSummed{Slot(0), 1}), ElementsAre(HasSubstr("sealed for generation 2, next is round 1")));
  EXPECT_THAT(Install(2, 1, {First(0)}, 1), ElementsAre("drop contributions", "installed generation 2"));
}

TEST_F(ShardTest, Install_InTheMiddleOfARound_UndoesTheClosedBlocks) {
  ServeFirstVersion(1, 2);
  Contribute(First(0), 1, 1, 1);
  Reduced(1);
  Seal(2);
  EXPECT_THAT(Install(2, 1, {First(0)}, 2),
              ElementsAre("drop contributions", "undo blocks 1", "installed generation 2"));
}

TEST_F(ShardTest, Install_ProvesTheVersion_CommitsIt) {
  ServeFirstVersion(1, 1);
  Seal(2);
  EXPECT_THAT(Install(2, 1, {First(0)}, 1),
              ElementsAre("drop contributions", "commit version 0", "installed generation 2"));
}

TEST_F(ShardTest, Install_BelowACommittedVersion_Impossible) {
  ServeFirstVersion(2, 1);
  Contribute(First(0), 1, 1, 0);
  Seal(2);
  EXPECT_THAT(Install(2, 0, {First(0)}, 1), ElementsAre(HasSubstr("version 0 is committed")));
  EXPECT_EQ(shard_.generation(), Generation(1));
}

TEST_F(ShardTest, Install_BeyondWhatIsHere_SaysThatMemoryIsLost) {
  Seal(1);
  EXPECT_THAT(Install(1, 4, {First(0)}, 1), ElementsAre(HasSubstr("this shard has lost its memory")));
}

TEST_F(ShardTest, Contribution_AgainInTheNewGeneration_Counts) {
  ServeFirstVersion(2, 1);
  Contribute(First(0), 1, 1, 0);
  const Member replacement{Rank(1), Incarnation(201)};
  Seal(2);
  Install(2, 1, {First(0), replacement}, 1);
  EXPECT_THAT(Contribute(First(0), 2, 1, 0), ElementsAre("keep the payload of rank 0 for block 0"));
  EXPECT_THAT(Contribute(First(1), 1, 1, 0), IsEmpty());
  EXPECT_THAT(Contribute(First(1), 2, 1, 0), ElementsAre(HasSubstr("fenced: rank 1")));
  EXPECT_THAT(Contribute(replacement, 2, 1, 0), ElementsAre(HasSubstr("keep"), HasSubstr("reduce block 0 of round 1")));
}

// ---- With a journal ----

class JournaledShardTest : public ShardTest {
 protected:
  JournaledShardTest() { shard_ = ShardCore(kShard, Durability::kJournal); }

  std::vector<std::string> Journaled(uint64_t version, uint64_t generation) {
    return Do(RoundJournaled{Generation(generation), Version(version)});
  }
  void Serve(uint32_t workers, uint32_t blocks) {
    ShardTest::Serve(workers, blocks);
    Do(InstallJournaled{Generation(1)});
  }
  void ServeFirstVersion(uint32_t workers, uint32_t blocks) {
    Serve(workers, blocks);
    for (uint32_t s = 0; s < blocks; ++s) Contribute(First(0), 1, 0, s);
    for (uint32_t s = 0; s < blocks; ++s) Reduced(s);
    Journaled(0, 1);
    ASSERT_EQ(shard_.next_round(), Round(1));
  }
};

TEST_F(JournaledShardTest, Round_AllBlocksReduced_CompleteIsSaidOnlyOnceItIsJournaled) {
  ServeFirstVersion(1, 2);
  Attach(First(0), 1, 1);
  Contribute(First(0), 1, 1, 0);
  Contribute(First(0), 1, 1, 1);
  EXPECT_THAT(Reduced(1), ElementsAre(HasSubstr("send block 1 of version 1")));
  EXPECT_THAT(Reduced(0), ElementsAre("journal round 1, generation 1, participants 0"));
  EXPECT_EQ(shard_.next_round(), Round(1));
  EXPECT_TRUE(shard_.journaling());
  EXPECT_THAT(Journaled(1, 1),
              ElementsAre(HasSubstr("send block 0 of version 1"), HasSubstr("say that version 1 is complete")));
  EXPECT_EQ(shard_.next_round(), Round(2));
}

TEST_F(JournaledShardTest, Round_AllWeightsZero_IsJournaledAsNothing) {
  ServeFirstVersion(1, 1);
  Empty(First(0), 1, 1);
  EXPECT_THAT(Reduced(0), ElementsAre("journal round 1, which changed nothing, generation 1, participants 0"));
}

TEST_F(JournaledShardTest, Install_NotJournaledYet_IsNotAnsweredAndNothingIsServed) {
  Seal(1);
  EXPECT_THAT(Install(1, 0, {First(0)}, 1),
              ElementsAre("drop contributions", "journal that generation 1 resumes at round 0"));
  EXPECT_FALSE(shard_.serving());
  EXPECT_EQ(shard_.generation(), Generation(0));
  EXPECT_THAT(Do(InstallJournaled{Generation(1)}), ElementsAre("installed generation 1"));
  EXPECT_TRUE(shard_.serving());
}

TEST_F(JournaledShardTest, Seal_WhileTheRoundIsJournaled_AnsweredWithItAfterwards) {
  ServeFirstVersion(1, 1);
  Contribute(First(0), 1, 1, 0);
  Reduced(0);
  EXPECT_THAT(Seal(2), ElementsAre("drop contributions"));
  EXPECT_THAT(
      Journaled(1, 1),
      ElementsAre("sealed for generation 2, next is round 2, newest version is of generation 1, the one before of 1"));
}

TEST_F(JournaledShardTest, Seal_WhileTheInstallIsJournaled_AnsweredAfterwards) {
  Seal(1);
  Install(1, 0, {First(0)}, 1);
  EXPECT_THAT(Seal(2), ElementsAre("drop contributions"));
  EXPECT_THAT(Do(InstallJournaled{Generation(1)}),
              ElementsAre("installed generation 1", HasSubstr("sealed for generation 2, next is round 0")));
  EXPECT_FALSE(shard_.serving());
}

TEST_F(JournaledShardTest, Journaled_OfAnotherRoundOrTwice_IsIgnored) {
  ServeFirstVersion(1, 1);
  Contribute(First(0), 1, 1, 0);
  Reduced(0);
  EXPECT_THAT(Journaled(2, 1), IsEmpty());
  Journaled(1, 1);
  EXPECT_THAT(Journaled(1, 1), IsEmpty());
  EXPECT_EQ(shard_.next_round(), Round(2));
}

// ---- Coming back ----

class ShardMemoryTest : public ShardTest {
 protected:
  bool Round_(uint64_t version, uint64_t generation) {
    return memory_.Add(JournalRound{Generation(generation), Version(version), false, {Rank(0)}});
  }
  bool Install_(uint64_t generation, uint64_t resume) {
    return memory_.Add(JournalInstall{Generation(generation), Round(resume)});
  }
  void ComeBack() { shard_ = ShardCore(kShard, memory_, /*blocks=*/1); }

  ShardMemory memory_;
};

TEST_F(ShardMemoryTest, RestartedShard_BeforeAnInstall_ServesNothing) {
  ASSERT_TRUE(Install_(1, 0) && Round_(0, 1) && Round_(1, 1));
  ComeBack();
  EXPECT_FALSE(shard_.serving());
  EXPECT_THAT(Attach(First(0), 1, 1), IsEmpty());
  EXPECT_THAT(Contribute(First(0), 1, 2, 0), IsEmpty());
}

TEST_F(ShardMemoryTest, RestartedShard_SealedWithAGenerationItHasJournaled_DoesNotAnswer) {
  ASSERT_TRUE(Install_(3, 0));
  ComeBack();
  EXPECT_THAT(Seal(3), IsEmpty());
  EXPECT_THAT(Seal(4), ElementsAre("drop contributions",
                                   "sealed for generation 4, next is round 0, newest version is of generation 0"));
}

TEST_F(ShardMemoryTest, RestartedShard_NewestVersion_CanBeUndone) {
  ASSERT_TRUE(Install_(1, 0) && Round_(0, 1) && Install_(2, 1) && Round_(1, 2));
  ComeBack();
  EXPECT_THAT(
      Seal(3),
      ElementsAre("drop contributions",
                  "sealed for generation 3, next is round 2, newest version is of generation 2, the one before of 1"));
  EXPECT_THAT(Install(3, 1, {First(0)}, 1),
              ElementsAre("drop contributions", "undo blocks 0", "journal that generation 3 resumes at round 1"));
  EXPECT_EQ(shard_.completed_in(), Generation(1));
}

TEST_F(ShardMemoryTest, RestartedShard_VersionBelowAnInstall_CannotBeUndone) {
  ASSERT_TRUE(Install_(1, 0) && Round_(0, 1) && Install_(2, 1));
  ComeBack();
  Seal(3);
  EXPECT_THAT(Install(3, 0, {First(0)}, 1), ElementsAre(HasSubstr("version 0 is committed")));
}

TEST_F(ShardMemoryTest, Journal_RoundUndoneByAnInstall_IsForgotten) {
  ASSERT_TRUE(Install_(1, 0) && Round_(0, 1) && Round_(1, 1) && Install_(2, 1));
  EXPECT_EQ(memory_.next(), Round(1));
  EXPECT_FALSE(memory_.tentative());
  EXPECT_TRUE(Round_(1, 2));
  EXPECT_TRUE(memory_.tentative());
}

TEST_F(ShardMemoryTest, Journal_ItsBeginningWasForgotten_GoesOnFromTheFirstRecord) {
  ASSERT_TRUE(Round_(7, 3) && Round_(8, 3) && Install_(4, 8) && Round_(8, 4));
  EXPECT_EQ(memory_.next(), Round(9));
  EXPECT_EQ(memory_.installed(), Generation(4));
}

TEST_F(ShardMemoryTest, Checkpoint_RecordsUpToIt_AreLeftOut) {
  memory_ = ShardMemory(Version(4), {.completed_in = Generation(2), .participants = {Rank(0)}});
  ASSERT_TRUE(Install_(1, 3) && Round_(3, 1) && Install_(2, 3) && Round_(3, 2) && Round_(4, 2) && Round_(5, 2));
  EXPECT_EQ(memory_.next(), Round(6));
  EXPECT_TRUE(memory_.tentative());
  ComeBack();
  EXPECT_EQ(shard_.completed_in(), Generation(2));
  EXPECT_EQ(shard_.completed_in_before(), Generation(2));
}

// A worker that sends what it had under way must not lose its connection for it.
TEST_F(ShardMemoryTest, Checkpoint_RestoredByAShardOfAGeneration_LateContributionsAreStale) {
  memory_ = ShardMemory(Version(4), {.completed_in = Generation(2), .participants = {Rank(0)}}, Generation(3));
  ShardCore restored(Incarnation(1), memory_, 1);
  ShardEffects effects;
  restored.Step(SealShard{Generation(4), Incarnation(1)}, absl::UnixEpoch(), effects);
  ASSERT_EQ(effects.size(), 2u);
  EXPECT_FALSE(std::get<AnswerSealed>(effects[1]).has.blank);
  effects.clear();
  restored.Step(ContributeBlock{.who = {Rank(0), Incarnation(10)},
                                .generation = Generation(3),
                                .round = Round(7),
                                .slot = Slot(0),
                                .weight = 1},
                absl::UnixEpoch(), effects);
  EXPECT_TRUE(effects.empty());
  EXPECT_EQ(restored.stale(), 1u);
}

TEST_F(ShardMemoryTest, Checkpoint_TheJournalBeginsLater_IsRefused) {
  memory_ = ShardMemory(Version(4), {.completed_in = Generation(2), .participants = {Rank(0)}});
  EXPECT_FALSE(Round_(6, 2));
}

TEST_F(ShardMemoryTest, Journal_RecordsThatNoShardWrites_AreRefused) {
  ASSERT_TRUE(Install_(2, 0));
  EXPECT_FALSE(Round_(1, 2)) << "a round is missing";
  EXPECT_FALSE(Round_(0, 1)) << "of an older generation";
  EXPECT_FALSE(Install_(2, 0)) << "the same generation again";
  ASSERT_TRUE(Round_(0, 2) && Round_(1, 2));
  EXPECT_FALSE(Install_(3, 0)) << "undoes two versions";
  EXPECT_FALSE(Install_(3, 3)) << "resumes beyond what is there";
}

}  // namespace
}  // namespace lockstep::core
