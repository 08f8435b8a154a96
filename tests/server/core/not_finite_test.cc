// NaN and Inf: what the cores decide. See also tests/integration/nan_test.cc.
#include "server/core/not_finite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/core/coordinator.h"
#include "server/core/shard.h"
#include "tests/server/core/effect_text.h"

namespace lockstep::core {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// ---- The coordinator ----

FoundNotFinite Nan(uint64_t round, uint32_t rank) {
  return {.round = Round(round), .rank = Rank(rank), .tensor = "fc1.weight", .index = 17, .value = std::nanf("")};
}

// Two shards and three workers, in generation 1, at round 5.
class CoordinatorNanTest : public testing::Test {
 protected:
  void Begin(NanPolicy policy, absl::Duration linger = absl::ZeroDuration()) {
    core_.emplace(
        CoordinatorOptions{
            .run_id = "r", .workers = 3, .shards = 2, .nan_policy = policy, .linger = linger, .checkpoints = true},
        now_);
    for (uint32_t s = 0; s < 2; ++s) Do(ShardArrives{ShardIndex(s), Incarnation(1 + s), "host:1", ""});
    for (uint32_t w = 0; w < 3; ++w) {
      Do(WorkerJoins{Incarnation(10 + w), absl::StrCat("w", w), Rank(w), ""});
      Do(WorkerDefines{Incarnation(10 + w), {.tensors = {{.name = "w", .shape = {4}}}}});
    }
    Seal(1, 5);
    Install(1);
    ASSERT_EQ(core_->state(), RunState::kTraining);
  }
  template <class Event>
  std::vector<std::string> Do(const Event& event) {
    CoordinatorEffects effects;
    core_->Step(event, now_, effects);
    return ToText(effects);
  }
  std::vector<std::string> Refuse(uint64_t generation, std::vector<FoundNotFinite> found, uint32_t shard = 1) {
    return Do(ShardRefuses{ShardIndex(shard), Incarnation(1 + shard), Generation(generation), std::move(found)});
  }
  std::vector<std::string> Seal(uint64_t generation, uint64_t next, uint64_t first = 1) {
    Do(ShardSealed{ShardIndex(0), Incarnation(first), Generation(generation), Round(next), Generation(1)});
    return Do(ShardSealed{ShardIndex(1), Incarnation(2), Generation(generation), Round(next), Generation(1)});
  }
  std::vector<std::string> Install(uint64_t generation, uint64_t first = 1) {
    Do(ShardInstalled{ShardIndex(0), Incarnation(first), Generation(generation), ""});
    return Do(ShardInstalled{ShardIndex(1), Incarnation(2), Generation(generation), ""});
  }

  absl::Time now_ = absl::UnixEpoch();
  std::optional<CoordinatorCore> core_;
};

TEST_F(CoordinatorNanTest, Fail_Nan_RunEndsAndNamesEverything) {
  Begin(NanPolicy::kFail);
  EXPECT_THAT(Refuse(1, {Nan(5, 2)}),
              ElementsAre("end the run: INVALID_ARGUMENT: round 5: rank 2 (worker 'w2') contributed nan at element 17 "
                          "of tensor 'fc1.weight' (shard 1)"));
  EXPECT_EQ(core_->state(), RunState::kFailed);
  EXPECT_THAT(Refuse(1, {Nan(5, 2)}), IsEmpty()) << "once";
  EXPECT_THAT(Do(WorkerJoins{Incarnation(99), "w2", std::nullopt, ""}),
              ElementsAre(AllOf(HasSubstr("INVALID_ARGUMENT"), HasSubstr("fc1.weight"))));
}

TEST_F(CoordinatorNanTest, Fail_Linger_ShardsEndLater) {
  Begin(NanPolicy::kFail, absl::Seconds(10));
  EXPECT_THAT(Refuse(1, {Nan(5, 2)}), ElementsAre(HasSubstr("end the run, shards stay: INVALID_ARGUMENT")));
  now_ += absl::Seconds(9);
  EXPECT_THAT(Do(Tick{}), Not(Contains(HasSubstr("end the run"))));
  EXPECT_THAT(Do(ShardArrives{ShardIndex(0), Incarnation(1), "host:1", ""}), Contains(HasSubstr("shards stay")));
  now_ += absl::Seconds(1);
  EXPECT_THAT(Do(Tick{}), Contains(HasSubstr("end the run: INVALID_ARGUMENT")));
  EXPECT_THAT(Do(Tick{}), Not(Contains(HasSubstr("end the run"))));
  EXPECT_THAT(Do(ShardArrives{ShardIndex(0), Incarnation(1), "host:1", ""}),
              Contains(HasSubstr("end the run: INVALID_ARGUMENT")));
}

TEST_F(CoordinatorNanTest, Drop_Nan_NextGenerationIsWithoutIt) {
  Begin(NanPolicy::kDrop);
  EXPECT_THAT(Refuse(1, {Nan(5, 2)}),
              ElementsAre("persist", AllOf(HasSubstr("note: dropped from round 5 on all shards"), HasSubstr("'w2'")),
                          "seal shard 0 for generation 2", "seal shard 1 for generation 2"));
  EXPECT_THAT(Refuse(1, {Nan(5, 2)}), IsEmpty()) << "the report comes again";
  EXPECT_THAT(
      Seal(2, 5),
      ElementsAre(AllOf(HasSubstr("install generation 2 on shard 0, next is round 5"), HasSubstr(", without 2")),
                  AllOf(HasSubstr("install generation 2 on shard 1, next is round 5"), HasSubstr(", without 2"))));
  Install(2);
  EXPECT_EQ(core_->state(), RunState::kTraining);
}

// What the rounds after the checkpoint bring is found anew.
TEST_F(CoordinatorNanTest, Drop_RunGoesBack_NobodyIsLeftOutOfTheRoundsThatComeAgain) {
  Begin(NanPolicy::kDrop);
  Refuse(1, {Nan(5, 2)});
  Do(ShardArrives{ShardIndex(0), Incarnation(8), "host:1", ""});
  const Generation generation = core_->generation();
  Do(ShardSealed{ShardIndex(0), Incarnation(8), generation, {.blank = true}});
  Do(ShardSealed{ShardIndex(1), Incarnation(2), generation, {.next = Round(5), .completed_in = Generation(1)}});
  for (uint32_t s = 0; s < 2; ++s) {
    Do(ShardRestorable{ShardIndex(s), Incarnation(s == 0 ? 8 : 2), generation, {{Version(3), Generation(1)}}, {}});
  }
  ASSERT_EQ(core_->resume(), Round(4));
  EXPECT_THAT(core_->memory().excluded, IsEmpty());
}

TEST_F(CoordinatorNanTest, Drop_AnotherRankInTheNewGeneration_BothAreOut) {
  Begin(NanPolicy::kDrop);
  Refuse(1, {Nan(5, 2)});
  Seal(2, 5);
  Install(2);
  Refuse(2, {Nan(5, 0)}, 0);
  EXPECT_THAT(Seal(3, 5), Contains(HasSubstr("without 0, 2")));
}

TEST_F(CoordinatorNanTest, Drop_CoordinatorComesBack_StillKnows) {
  Begin(NanPolicy::kDrop);
  Refuse(1, {Nan(5, 2)});
  core_.emplace(core_->options(), core_->memory(), now_);
  Do(ShardArrives{ShardIndex(0), Incarnation(1), "host:1", ""});
  Do(ShardArrives{ShardIndex(1), Incarnation(2), "host:1", ""});
  EXPECT_THAT(Seal(3, 5),
              Contains(AllOf(HasSubstr("install generation 3 on shard 0, next is round 5"), HasSubstr(", without 2"))));
}

TEST_F(CoordinatorNanTest, Drop_RoundIsPast_CountsAgainAndIsForgotten) {
  Begin(NanPolicy::kDrop);
  Refuse(1, {Nan(5, 2)});
  Seal(2, 5);
  Install(2);
  Do(ShardArrives{ShardIndex(0), Incarnation(50), "host:1", ""});
  EXPECT_THAT(Seal(3, 6, 50), Not(Contains(HasSubstr("without"))));
  EXPECT_THAT(core_->memory().excluded, IsEmpty());
}

TEST_F(CoordinatorNanTest, Drop_NobodyIsToBlame_RunEnds) {
  for (FoundNotFinite found : {FoundNotFinite{.in = FoundNotFinite::In::kSum, .round = Round(5)},
                               FoundNotFinite{.in = FoundNotFinite::In::kUpdate, .round = Round(5)}, Nan(0, 0)}) {
    Begin(NanPolicy::kDrop);
    EXPECT_THAT(Refuse(1, {found}), ElementsAre(HasSubstr("end the run: INVALID_ARGUMENT")));
  }
}

TEST_F(CoordinatorNanTest, Report_OfAnOlderGenerationOrShard_Ignored) {
  Begin(NanPolicy::kFail);
  Do(ShardArrives{ShardIndex(0), Incarnation(50), "host:1", ""});
  Seal(2, 5, 50);
  Install(2, 50);
  ASSERT_EQ(core_->state(), RunState::kTraining);
  EXPECT_THAT(Refuse(1, {Nan(5, 2)}), IsEmpty());
  EXPECT_THAT(Do(ShardRefuses{ShardIndex(0), Incarnation(1), Generation(2), {Nan(5, 2)}}), IsEmpty());
  EXPECT_THAT(Refuse(2, {}), IsEmpty());
}

// ---- The shard ----

constexpr Incarnation kShard(7);

Member First(uint32_t rank) { return {Rank(rank), Incarnation(100 + rank)}; }

// A shard of one block at round 1 of generation 1.
class ShardNanTest : public testing::Test {
 protected:
  void Begin(uint32_t workers) {
    workers_ = workers;
    Change(1, 0, {});
    Do(ContributeBlock{First(0), Generation(1), Round(0), Slot(0), 1});
    Do(BlockReduced{Slot(0)});
    ASSERT_EQ(core_.next_round(), Round(1));
  }
  void Change(uint64_t generation, uint64_t resume, std::vector<Rank> excluded) {
    Do(SealShard{Generation(generation), kShard});
    std::vector<Member> members;
    for (uint32_t r = 0; r < workers_; ++r) members.push_back(First(r));
    Do(InstallGeneration{Generation(generation), kShard, Round(resume), members, 1, std::move(excluded)});
    ASSERT_EQ(core_.generation(), Generation(generation));
  }
  template <class Event>
  std::vector<std::string> Do(const Event& event) {
    ShardEffects effects;
    core_.Step(event, absl::UnixEpoch(), effects);
    return ToText(effects);
  }
  std::vector<std::string> Contribute(uint64_t generation, uint64_t round, uint32_t rank, float weight = 1) {
    return Do(ContributeBlock{First(rank), Generation(generation), Round(round), Slot(0), weight});
  }

  uint32_t workers_ = 0;
  ShardCore core_{kShard};
};

TEST_F(ShardNanTest, Refused_TheRoundStandsStillUntilTheNextGeneration) {
  Begin(2);
  Contribute(1, 1, 0);
  EXPECT_THAT(Contribute(1, 1, 1), Contains(HasSubstr("reduce")));
  EXPECT_THAT(Do(ReductionRefused{}), IsEmpty());
  EXPECT_THAT(Contribute(1, 1, 1), IsEmpty()) << "again";
  EXPECT_EQ(core_.next_round(), Round(1));
  EXPECT_THAT(Do(SealShard{Generation(2), kShard}), Contains(HasSubstr("next is round 1")));
}

TEST_F(ShardNanTest, Refused_WhileSealed_AnswersTheSeal) {
  Begin(1);
  Contribute(1, 1, 0);
  EXPECT_THAT(Do(SealShard{Generation(2), kShard}), Not(Contains(HasSubstr("sealed"))));
  EXPECT_THAT(Do(ReductionRefused{}), Contains(HasSubstr("sealed for generation 2, next is round 1")));
}

TEST_F(ShardNanTest, Excluded_ItsContribution_IsAwaitedButCountsAsEmpty) {
  Begin(3);
  Change(2, 1, {Rank(1)});
  Contribute(2, 1, 0);
  Contribute(2, 1, 2);
  EXPECT_EQ(core_.MissingBlocks()[1].blocks, 1u);
  EXPECT_THAT(Contribute(2, 1, 1, 5),
              ElementsAre("reduce block 0 of round 1 from ranks 0 (weight 1), 1 (weight 0), 2 (weight 1)"))
      << "not kept";
  Do(BlockReduced{Slot(0)});
  EXPECT_EQ(core_.next_round(), Round(2));
  EXPECT_THAT(core_.participants(), ElementsAre(Rank(0), Rank(2)));
}

TEST_F(ShardNanTest, Excluded_NextRound_CountsAgain) {
  Begin(2);
  Change(2, 1, {Rank(1)});
  Contribute(2, 1, 0);
  Contribute(2, 1, 1);
  Do(BlockReduced{Slot(0)});
  Contribute(2, 2, 0);
  Contribute(2, 2, 1);
  Do(BlockReduced{Slot(0)});
  EXPECT_THAT(core_.participants(), ElementsAre(Rank(0), Rank(1)));
}

TEST_F(ShardNanTest, Excluded_Everybody_RoundIsCompleteWithoutParticipants) {
  Begin(2);
  Change(2, 1, {Rank(0), Rank(1)});
  Contribute(2, 1, 0);
  EXPECT_THAT(Contribute(2, 1, 1), ElementsAre("reduce block 0 of round 1 from ranks 0 (weight 0), 1 (weight 0)"));
  Do(BlockReduced{Slot(0)});
  EXPECT_EQ(core_.next_round(), Round(2));
  EXPECT_THAT(core_.participants(), IsEmpty());
}

TEST_F(ShardNanTest, Excluded_OfNineRanks_GroupIsSummedWithoutIt) {
  Begin(9);
  Change(2, 1, {Rank(3)});
  std::vector<std::string> last;
  for (uint32_t rank = 0; rank < 8; ++rank) last = Contribute(2, 1, rank);
  EXPECT_THAT(last, Contains(AllOf(HasSubstr("sum group 0"), HasSubstr("3 (weight 0)"))));
}

}  // namespace
}  // namespace lockstep::core
