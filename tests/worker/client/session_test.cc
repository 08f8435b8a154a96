#include "worker/client/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lockstep::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct EffectText {
  static std::string At(ShardIndex shard, uint32_t connection) { return absl::StrCat(shard.value(), "/", connection); }

  std::string operator()(const SendAttach& e) const {
    return absl::StrCat("attach to ", At(e.shard, e.connection), " in generation ", e.generation.value(), " for round ",
                        e.next.value());
  }
  std::string operator()(const SendContribution& e) const {
    return absl::StrCat("contribute to ", At(e.shard, e.connection), " in generation ", e.generation.value(),
                        " to round ", e.round.value());
  }
  std::string operator()(const StoreBlock&) const { return "store"; }
  std::string operator()(const VersionHeld& e) const {
    const auto id = [](std::string* out, Rank rank) { absl::StrAppend(out, rank.value()); };
    return absl::StrCat("hold version ", e.version.value(), " of ranks ", absl::StrJoin(e.participants, ", ", id));
  }
  std::string operator()(const SessionFailed& e) const { return e.status.ToString(); }
};

// Rank 0 of two, with two shards of one block each, and events in few words. Each returns the effects as text.
class SessionTest : public testing::Test {
 protected:
  template <class Event>
  std::vector<std::string> Do(const Event& event) {
    SessionEffects effects;
    session_.Step(event, effects);
    std::vector<std::string> lines;
    for (const SessionEffect& effect : effects) lines.push_back(std::visit(EffectText(), effect));
    return lines;
  }

  std::vector<std::string> Announce(uint64_t generation, uint64_t resume) {
    return Do(GenerationAnnounced{Generation(generation), Round(resume), {me_, {Rank(1), Incarnation(11)}}});
  }
  std::vector<std::string> Connect(uint32_t shard) { return Do(Connected{ShardIndex(shard), 0}); }
  std::vector<std::string> Parameters(uint32_t shard, uint64_t generation, uint64_t version) {
    return Do(ParametersArrived{ShardIndex(shard), Generation(generation), Version(version), Slot(0)});
  }
  std::vector<std::string> Stored(uint32_t shard, uint64_t generation, uint64_t version) {
    return Do(BlockStored{ShardIndex(shard), Generation(generation), Version(version), Slot(0)});
  }
  std::vector<std::string> Complete(uint32_t shard, uint64_t generation, uint64_t version, uint64_t completed_in,
                                    std::vector<Rank> participants = {Rank(0), Rank(1)}) {
    return Do(CompleteArrived{ShardIndex(shard), Generation(generation), Version(version), Generation(completed_in),
                              std::move(participants)});
  }

  void Start() {
    Connect(0);
    Connect(1);
    Announce(1, 0);
  }
  // All of one version from both shards; returns what the last message does.
  std::vector<std::string> Receive(uint64_t generation, uint64_t version) {
    for (uint32_t shard : {0, 1}) {
      Parameters(shard, generation, version);
      Stored(shard, generation, version);
    }
    Complete(0, generation, version, generation);
    return Complete(1, generation, version, generation);
  }

  const Member me_{Rank(0), Incarnation(10)};
  SessionCore session_{{.me = me_, .connections = 1, .blocks_per_shard = {1, 1}}};
};

TEST_F(SessionTest, Announcement_StreamsAreOpen_AttachesToEveryShard) {
  Connect(0);
  Connect(1);
  EXPECT_THAT(Announce(1, 0),
              ElementsAre("attach to 0/0 in generation 1 for round 0", "attach to 1/0 in generation 1 for round 0"));
}

TEST_F(SessionTest, Announcement_SameOrOlderGeneration_Ignored) {
  Start();
  EXPECT_THAT(Announce(1, 0), IsEmpty());
}

TEST_F(SessionTest, Contribution_RoundZero_OnlyFromTheLowestRank) {
  Start();
  EXPECT_THAT(Do(Contribute{Round(0)}), ElementsAre("contribute to 0/0 in generation 1 to round 0",
                                                    "contribute to 1/0 in generation 1 to round 0"));
  SessionCore other({.me = {Rank(1), Incarnation(11)}, .connections = 1, .blocks_per_shard = {1}});
  SessionEffects effects;
  other.Step(Connected{ShardIndex(0), 0}, effects);
  other.Step(GenerationAnnounced{Generation(1), Round(0), {me_, {Rank(1), Incarnation(11)}}}, effects);
  effects.clear();
  other.Step(Contribute{Round(0)}, effects);
  EXPECT_TRUE(effects.empty());
}

TEST_F(SessionTest, Version_CompleteOnOneShardOnly_NotHeld) {
  Start();
  Parameters(0, 1, 0);
  Stored(0, 1, 0);
  EXPECT_THAT(Complete(0, 1, 0, 1), IsEmpty());
  const std::vector<Awaited> awaited = session_.AwaitedFrom();
  ASSERT_EQ(awaited.size(), 1);
  EXPECT_EQ(awaited[0].shard, ShardIndex(1));
  EXPECT_EQ(awaited[0].blocks, 1);
}

TEST_F(SessionTest, Version_CompleteOnEveryShard_HeldWithItsParticipants) {
  Start();
  EXPECT_THAT(Receive(1, 0), ElementsAre("hold version 0 of ranks 0, 1"));
  EXPECT_EQ(session_.next(), Round(1));
}

TEST_F(SessionTest, Version_CompleteComesBeforeTheBlockIsStored_HeldWhenItIs) {
  Start();
  Parameters(0, 1, 0);
  Stored(0, 1, 0);
  Complete(0, 1, 0, 1);
  EXPECT_THAT(Parameters(1, 1, 0), ElementsAre("store"));
  EXPECT_THAT(Complete(1, 1, 0, 1), IsEmpty());
  EXPECT_THAT(Stored(1, 1, 0), ElementsAre("hold version 0 of ranks 0, 1"));
}

TEST_F(SessionTest, Block_ComesTwice_StoredOnce) {
  Start();
  EXPECT_THAT(Parameters(0, 1, 0), ElementsAre("store"));
  EXPECT_THAT(Parameters(0, 1, 0), IsEmpty());
}

TEST_F(SessionTest, Frames_OfAnOlderGeneration_DoNotCount) {
  Start();
  Parameters(0, 1, 0);
  Announce(2, 0);
  EXPECT_THAT(Stored(0, 1, 0), IsEmpty());
  EXPECT_THAT(Parameters(1, 1, 0), IsEmpty());
  EXPECT_THAT(Complete(1, 1, 0, 1), IsEmpty());
  EXPECT_THAT(Receive(2, 0), ElementsAre("hold version 0 of ranks 0, 1"));
}

TEST_F(SessionTest, NewGeneration_ContributionIsNotSettled_SentAgain) {
  Start();
  Receive(1, 0);
  Do(Contribute{Round(1)});
  EXPECT_THAT(Announce(2, 1),
              ElementsAre("attach to 0/0 in generation 2 for round 1", "contribute to 0/0 in generation 2 to round 1",
                          "attach to 1/0 in generation 2 for round 1", "contribute to 1/0 in generation 2 to round 1"));
}

TEST_F(SessionTest, NewGeneration_RoundIsCommitted_FetchedInsteadOfSentAgain) {
  Start();
  Receive(1, 0);
  Do(Contribute{Round(1)});
  EXPECT_THAT(Announce(2, 2),
              ElementsAre("attach to 0/0 in generation 2 for round 1", "attach to 1/0 in generation 2 for round 1"));
  EXPECT_EQ(session_.target(), Version(1));
  EXPECT_THAT(Receive(2, 1), ElementsAre("hold version 1 of ranks 0, 1"));
}

TEST_F(SessionTest, Replacement_RunIsFurther_FetchesTheNewestVersion) {
  Connect(0);
  Connect(1);
  Announce(5, 8);
  EXPECT_THAT(Do(Contribute{Round(0)}), IsEmpty());
  EXPECT_EQ(session_.target(), Version(7));
  EXPECT_THAT(Receive(5, 7), ElementsAre("hold version 7 of ranks 0, 1"));
}

TEST_F(SessionTest, Stream_Reconnects_AttachesAndSendsItsPartAgain) {
  Start();
  Receive(1, 0);
  Do(Disconnected{ShardIndex(1), 0});
  EXPECT_THAT(Do(Contribute{Round(1)}), ElementsAre("contribute to 0/0 in generation 1 to round 1"));
  EXPECT_THAT(Connect(1),
              ElementsAre("attach to 1/0 in generation 1 for round 1", "contribute to 1/0 in generation 1 to round 1"));
}

TEST_F(SessionTest, NewGeneration_BelowTheHeldVersion_SessionFails) {
  Start();
  Receive(1, 0);
  EXPECT_THAT(Announce(2, 0), ElementsAre(HasSubstr("the servers have lost a version")));
}

TEST_F(SessionTest, Version_ShardsDisagreeAboutItsGeneration_SessionFails) {
  Start();
  Receive(1, 0);
  Do(Contribute{Round(1)});  // only who waits for a version takes it
  for (uint32_t shard : {0, 1}) {
    Parameters(shard, 1, 1);
    Stored(shard, 1, 1);
  }
  Complete(0, 1, 1, 1);
  EXPECT_THAT(Complete(1, 1, 1, 2),
              ElementsAre(HasSubstr("completed in generation 1 on shard 0, but in generation 2 on shard 1")));
}

// ---- Rolling back ----

// This worker holds version 3 and has pushed for round 4 when it learns that the run has gone back to version 1.
TEST_F(SessionTest, RolledBackDuringACall_TakesTheOlderVersionAndItsContributionIsVoid) {
  Start();
  Do(Contribute{Round(0)});
  for (uint64_t version : {0, 1, 2, 3}) {
    Receive(1, version);
    Do(Contribute{Round(version + 1)});
  }
  ASSERT_EQ(session_.next(), Round(4));
  SessionEffects effects;
  session_.Step(GenerationAnnounced{Generation(2), Round(2), {me_}, /*rolled_back_in=*/Generation(2)}, effects);
  ASSERT_EQ(effects.size(), 2u) << "greets both shards, and sends nothing";
  for (const SessionEffect& effect : effects) EXPECT_EQ(std::get<SendAttach>(effect).next, Round(1));
  Parameters(0, 2, 1);
  Stored(0, 2, 1);
  Complete(0, 2, 1, 1);
  Parameters(1, 2, 1);
  Stored(1, 2, 1);
  effects.clear();
  session_.Step(CompleteArrived{ShardIndex(1), Generation(2), Version(1), Generation(1), {Rank(0), Rank(1)}}, effects);
  ASSERT_EQ(effects.size(), 1u);
  EXPECT_EQ(std::get<VersionHeld>(effects[0]).version, Version(1));
  EXPECT_TRUE(std::get<VersionHeld>(effects[0]).rolled_back);
  EXPECT_EQ(session_.next(), Round(2));
  EXPECT_EQ(Do(Contribute{Round(2)}).size(), 2u) << "goes on from there, on both shards";
}

// Nobody takes what shards would send: it is asked for with the next call.
TEST_F(SessionTest, RolledBackBetweenCalls_GreetsWithTheNextCall) {
  Start();
  Do(Contribute{Round(0)});
  Receive(1, 0);
  Do(Contribute{Round(1)});
  Receive(1, 1);
  SessionEffects effects;
  session_.Step(GenerationAnnounced{Generation(2), Round(1), {me_}, /*rolled_back_in=*/Generation(2)}, effects);
  EXPECT_TRUE(effects.empty());
  session_.Step(Disconnected{ShardIndex(1), 0}, effects);
  session_.Step(Connected{ShardIndex(1), 0}, effects);
  EXPECT_TRUE(effects.empty());
  EXPECT_TRUE(session_.defined());
  session_.Step(Contribute{session_.next()}, effects);
  ASSERT_EQ(effects.size(), 2u);
  for (const SessionEffect& effect : effects) EXPECT_EQ(std::get<SendAttach>(effect).next, Round(0));
}

// Generations after the one that rolled back are ordinary ones, and a new worker has nothing to give up.
TEST_F(SessionTest, RollbackIsKnownAlready_NothingIsGivenUp) {
  Connect(0);
  Connect(1);
  Do(GenerationAnnounced{Generation(5), Round(2), {me_}, Generation(4)});
  Do(Contribute{Round(0)});
  Receive(5, 1);
  EXPECT_EQ(session_.next(), Round(2));
  Do(GenerationAnnounced{Generation(6), Round(2), {me_}, Generation(4)});
  EXPECT_EQ(session_.next(), Round(2));
}

}  // namespace
}  // namespace lockstep::client
