// Membership that changes while the run goes on: who is waited for, who is given up, and when the run is done.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/core/coordinator.h"
#include "tests/server/core/effect_text.h"

namespace lockstep::core {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

const ModelSpec& Model() {
  static const auto& model = *new ModelSpec{.tensors = {{.name = "w", .shape = {4}}}};
  return model;
}

// One shard, and a run that starts with two workers, may have three, and goes on with one.
class ElasticTest : public testing::Test {
 protected:
  template <class Event>
  std::vector<std::string> Do(const Event& event) {
    CoordinatorEffects effects;
    coordinator_.Step(event, now_, effects);
    return ToText(effects);
  }
  std::vector<std::string> Come(uint64_t incarnation, const std::string& name) {
    Do(WorkerJoins{Incarnation(incarnation), name, std::nullopt, ""});
    return Do(WorkerDefines{Incarnation(incarnation), Model()});
  }
  // The shard follows the change of generation that is under way.
  std::vector<std::string> Follow() {
    const Generation generation = coordinator_.generation();
    Do(ShardSealed{ShardIndex(0), Incarnation(1), generation, Round(0), Generation(0)});
    return Do(ShardInstalled{ShardIndex(0), Incarnation(1), generation, ""});
  }
  void Train() {
    Do(ShardArrives{ShardIndex(0), Incarnation(1), "host:1", ""});
    Come(10, "a");
    Come(11, "b");
    Follow();
    ASSERT_EQ(coordinator_.state(), RunState::kTraining);
  }
  // Time passes in which only this worker gives a sign of life.
  std::vector<std::string> PassWith(Incarnation alive, absl::Duration time) {
    std::vector<std::string> all;
    for (const absl::Time end = now_ + time; now_ < end;) {
      now_ += absl::Seconds(1);
      Do(WorkerBeats{alive});
      for (std::string& text : Do(Tick{})) all.push_back(std::move(text));
    }
    return all;
  }
  std::vector<uint32_t> Members() const {
    std::vector<uint32_t> ranks;
    for (Rank rank : coordinator_.MemberRanks()) ranks.push_back(rank.value());
    return ranks;
  }

  absl::Time now_ = absl::UnixEpoch();
  CoordinatorCore coordinator_{{.run_id = "run",
                                .workers = 2,
                                .shards = 1,
                                .lease = absl::Seconds(5),
                                .min_workers = 1,
                                .max_workers = 3,
                                .replace_timeout = absl::Seconds(20)},
                               now_};
};

TEST_F(ElasticTest, Newcomer_WhileTheRunGoesOn_GetsARankAndAGeneration) {
  Train();
  EXPECT_THAT(Come(12, "c"), Contains(HasSubstr("seal shard 0 for generation 2")));
  Follow();
  EXPECT_EQ(Members(), (std::vector<uint32_t>{0, 1, 2}));
}

TEST_F(ElasticTest, Newcomer_ThatHasNotDefined_HoldsNobodyUp) {
  Train();
  Do(WorkerJoins{Incarnation(12), "c", std::nullopt, ""});
  EXPECT_EQ(coordinator_.state(), RunState::kTraining);
}

TEST_F(ElasticTest, FourthWorker_IsRefused) {
  Train();
  Come(12, "c");
  EXPECT_THAT(Do(WorkerJoins{Incarnation(13), "d", std::nullopt, ""}), Contains(HasSubstr("all 3 ranks")));
}

TEST_F(ElasticTest, RankOfOneThatLeft_AskedForByAnother_RefusalSaysThatItHasLeft) {
  Train();
  Do(WorkerLeaves{Incarnation(11)});
  const std::vector<std::string> said = Do(WorkerJoins{Incarnation(12), "c", Rank(1), ""});
  EXPECT_THAT(said, Contains(HasSubstr("rank 1 was worker 'b', which has done its part and left")));
  EXPECT_THAT(said, Not(Contains(HasSubstr("alive"))));
}

TEST_F(ElasticTest, RankBeyondWhatTheRunMayGrowTo_IsRefusedWithTheFlagThatDecides) {
  EXPECT_THAT(Do(WorkerJoins{Incarnation(13), "d", Rank(3), ""}),
              Contains(HasSubstr("this run has ranks 0 to 2 (--max-workers 3)")));
}

TEST_F(ElasticTest, LostWorker_NotReplacedInTime_IsGivenUpAndFenced) {
  Train();
  EXPECT_THAT(PassWith(Incarnation(10), absl::Seconds(24)), Not(Contains(HasSubstr("goes on without it"))));
  EXPECT_THAT(PassWith(Incarnation(10), absl::Seconds(4)), Contains(HasSubstr("seal shard 0 for generation 2")));
  Follow();
  EXPECT_EQ(Members(), (std::vector<uint32_t>{0}));
  EXPECT_THAT(Do(WorkerBeats{Incarnation(11)}), Contains(HasSubstr("fenced")));
}

TEST_F(ElasticTest, LostWorker_ReplacedInTime_IsNotGivenUp) {
  Train();
  PassWith(Incarnation(10), absl::Seconds(15));
  Come(12, "b");
  Follow();
  EXPECT_EQ(Members(), (std::vector<uint32_t>{0, 1}));
}

TEST_F(ElasticTest, EveryWorkerLost_NobodyIsGivenUp) {
  Train();
  EXPECT_THAT(PassWith(Incarnation(99), absl::Minutes(5)), Not(Contains(HasSubstr("goes on without it"))));
}

TEST_F(ElasticTest, AllMembersGivenUp_DefinedNewcomerGoesOn) {
  Train();
  Come(12, "c");  // its generation is never finished: the shard does not answer
  PassWith(Incarnation(12), absl::Seconds(30));
  EXPECT_NE(coordinator_.state(), RunState::kDone) << "nobody has left";
  Follow();
  EXPECT_EQ(Members(), (std::vector<uint32_t>{2}));
}

TEST_F(ElasticTest, AllMembersLeft_UndefinedNewcomerIsToldThatTheRunIsDone) {
  Train();
  Do(WorkerJoins{Incarnation(12), "c", std::nullopt, ""});
  Do(WorkerLeaves{Incarnation(10)});
  EXPECT_THAT(Do(WorkerLeaves{Incarnation(11)}), Contains(HasSubstr("the run is done")));
  EXPECT_EQ(coordinator_.state(), RunState::kDone);
  EXPECT_THAT(Do(WorkerJoins{Incarnation(12), "c", std::nullopt, ""}), Contains(HasSubstr("leaves")))
      << "on a new stream it is told again, and not welcomed";
}

TEST_F(ElasticTest, PlaceOfOneThatLeft_Taken_TheOneThatLeftIsStillAcknowledged) {
  Train();
  Do(WorkerLeaves{Incarnation(11)});
  Come(12, "c");
  Come(13, "d");
  EXPECT_EQ(coordinator_.seats()[1].incarnation, Incarnation(13)) << "who has left makes room";
  EXPECT_THAT(Do(WorkerJoins{Incarnation(11), "b", std::nullopt, ""}), Contains(HasSubstr("leaves")));
}

TEST_F(ElasticTest, CoordinatorCrashes_WhileARankIsVacant_GivesItUpLater) {
  Train();
  CoordinatorEffects effects;
  std::string name;
  ASSERT_TRUE(coordinator_.Step(EvictRank{Rank(1)}, now_, effects, name).ok());
  coordinator_ = CoordinatorCore(coordinator_.options(), coordinator_.memory(), now_);
  Do(ShardArrives{ShardIndex(0), Incarnation(1), "host:1", "run"});
  EXPECT_EQ(coordinator_.state(), RunState::kWaitingForWorkers) << "the rank is expected";
  EXPECT_THAT(PassWith(Incarnation(10), absl::Seconds(30)), Contains(HasSubstr("goes on without it")));
}

}  // namespace
}  // namespace lockstep::core
