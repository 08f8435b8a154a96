// The block store against a naive model that updates parameters and state in place, whatever is undone in between.
#include "server/storage/block_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/seeds.h"

namespace lockstep::storage {
namespace {

using compute::Contribution;
using compute::OptimizerKind;
using testing::ForEachSeed;
using testing::Random;
using testing::RandomFloat;
using testing::Uniform;

using Values = std::vector<float>;

const std::vector<OptimizerKind> kKinds = {OptimizerKind::kAggregate, OptimizerKind::kSgd,  OptimizerKind::kMomentum,
                                           OptimizerKind::kNesterov,  OptimizerKind::kAdam, OptimizerKind::kAdamW,
                                           OptimizerKind::kAdagrad};

compute::OptimizerOptions OptionsOf(OptimizerKind kind) {
  compute::OptimizerOptions options = compute::DefaultOptions(kind);
  if (kind != OptimizerKind::kAggregate) options.weight_decay = 0.01;
  return options;
}

const compute::ScheduleOptions kSchedule = {
    .kind = compute::ScheduleKind::kStep, .warmup_rounds = 3, .step_rounds = 2, .gamma = 0.5};

// What the ranks send for one block in one round. Owns the bytes.
class Contributions {
 public:
  Contributions() = default;

  void Add(uint32_t rank, float weight, Values values) {
    values_.push_back(std::make_unique<Values>(std::move(values)));
    slices_.push_back(std::make_unique<compute::ByteSlice>(compute::ByteSlice{
        reinterpret_cast<const std::byte*>(values_.back()->data()), values_.back()->size() * sizeof(float)}));
    all_.push_back({.rank = rank, .weight = weight, .slices = absl::MakeConstSpan(slices_.back().get(), 1)});
    total_ += weight;
  }
  static Contributions AtRandom(Random& random, size_t elements, uint32_t ranks) {
    Contributions contributions;
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      if (ranks > 1 && random() % 4 == 0) continue;
      Values values(elements);
      for (float& value : values) value = RandomFloat(random);
      contributions.Add(rank, static_cast<float>(Uniform(random, 0, 3)), std::move(values));
    }
    return contributions;
  }

  const std::vector<Contribution>& all() const { return all_; }
  float total() const { return static_cast<float>(total_); }
  RoundInput Input() const {
    return {.contributions = all_, .group_sums = {}, .grouped = false, .total_weight = total()};
  }
  // Those of ranks 8g..8g+7 that count.
  std::vector<Contribution> Group(uint32_t group) const {
    std::vector<Contribution> members;
    for (const Contribution& one : all_) {
      if (one.rank / compute::kRadix == group && one.weight > 0) members.push_back(one);
    }
    return members;
  }

 private:
  std::vector<std::unique_ptr<Values>> values_;
  std::vector<std::unique_ptr<compute::ByteSlice>> slices_;
  std::vector<Contribution> all_;
  double total_ = 0;
};

// One block, updated in place: an optimizer that never undoes anything.
class Naive {
 public:
  Naive(compute::OptimizerOptions options, Values initial)
      : options_(options),
        parameters_(std::move(initial)),
        state_(static_cast<size_t>(compute::StateSlots(options.kind)), Values(parameters_.size(), 0.0f)) {}

  void Step(uint64_t round, const Contributions& contributions) {
    if (contributions.total() == 0) {
      if (options_.kind == OptimizerKind::kAggregate) std::fill(parameters_.begin(), parameters_.end(), 0.0f);
      return;
    }
    Values gradient(parameters_.size());
    compute::WeightedSum(contributions.all(), absl::MakeSpan(gradient));
    compute::DivideBy(contributions.total(), absl::MakeSpan(gradient));
    const auto step = compute::MakeStep(options_, compute::LearningRate(kSchedule, options_.lr, round), round);
    std::vector<const float*> before;
    std::vector<float*> moving;
    for (Values& slot : state_) {
      before.push_back(slot.data());
      moving.push_back(slot.data());
    }
    Values next(parameters_.size());
    compute::Publish(step, parameters_, before, absl::MakeSpan(gradient), absl::MakeSpan(next));
    compute::Fold(step, gradient, moving);
    parameters_ = std::move(next);
  }
  const Values& parameters() const { return parameters_; }

 private:
  const compute::OptimizerOptions options_;
  Values parameters_;
  std::vector<Values> state_;
};

::testing::AssertionResult SameBits(absl::Span<const float> got, absl::Span<const float> want) {
  if (got.size() == want.size() && std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0) {
    return ::testing::AssertionSuccess();
  }
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    if (std::bit_cast<uint32_t>(got[i]) != std::bit_cast<uint32_t>(want[i])) {
      return ::testing::AssertionFailure() << "element " << i << " is " << got[i] << ", want " << want[i];
    }
  }
  return ::testing::AssertionFailure() << got.size() << " elements, want " << want.size();
}

Values RandomValues(Random& random, size_t size) {
  Values values(size);
  for (float& value : values) value = RandomFloat(random);
  return values;
}

// A store and the naive model of each of its blocks, at version 0.
struct Pair {
  Pair(OptimizerKind kind, std::vector<int64_t> sizes, Random& random)
      : store(sizes, OptionsOf(kind), kSchedule), sizes(sizes) {
    for (uint32_t s = 0; s < sizes.size(); ++s) {
      Values initial = RandomValues(random, static_cast<size_t>(sizes[s]));
      Contributions first;
      first.Add(0, 1, initial);
      Slot slot(s);
      store.Publish(slot, store.Compute(slot, Round(0), first.Input()).block);
      naive.emplace_back(OptionsOf(kind), std::move(initial));
    }
  }
  void Attempt(Slot slot, uint64_t round, const Contributions& contributions) {
    store.Publish(slot, store.Compute(slot, Round(round), contributions.Input()).block);
  }

  BlockStore store;
  std::vector<int64_t> sizes;
  std::vector<Naive> naive;
};

class EveryOptimizerTest : public ::testing::TestWithParam<OptimizerKind> {};

TEST_P(EveryOptimizerTest, Rounds_ComputedAndUndoneAtRandom_EqualTheUndisturbed) {
  ForEachSeed(40, [](Random& random) {
    Pair pair(GetParam(), {1, 100, 2048, 5000}, random);
    for (uint64_t round = 1; round <= 12; ++round) {
      pair.store.Commit();
      // Attempts that a change of generation takes back: of some blocks, or of the whole version.
      for (uint64_t attempts = Uniform(random, 0, 3); attempts > 0; --attempts) {
        std::vector<Slot> closed;
        const bool whole_version = random() % 2 == 0;
        for (uint32_t s = 0; s < pair.sizes.size(); ++s) {
          if (!whole_version && random() % 2 == 0) continue;
          const auto other = Contributions::AtRandom(random, static_cast<size_t>(pair.sizes[s]), 5);
          pair.Attempt(Slot(s), round, other);
          closed.push_back(Slot(s));
        }
        for (Slot slot : closed) {
          pair.store.Undo(slot);
          ASSERT_TRUE(SameBits(pair.store.current(slot)->values(), pair.naive[slot.value()].parameters()));
        }
      }
      for (uint32_t s = 0; s < pair.sizes.size(); ++s) {
        const auto contributions = Contributions::AtRandom(random, static_cast<size_t>(pair.sizes[s]), 5);
        pair.Attempt(Slot(s), round, contributions);
        pair.naive[s].Step(round, contributions);
        ASSERT_TRUE(SameBits(pair.store.current(Slot(s))->values(), pair.naive[s].parameters()))
            << "round " << round << ", block " << s;
      }
    }
  });
}

TEST_P(EveryOptimizerTest, Round_WithoutWeight_LeavesParametersAndState) {
  ForEachSeed(10, [](Random& random) {
    Pair pair(GetParam(), {300}, random);
    const Slot slot(0);
    for (uint64_t round = 1; round <= 8; ++round) {
      pair.store.Commit();
      Contributions contributions;
      if (round % 3 == 0) {
        contributions.Add(2, 0, RandomValues(random, 300));
      } else if (round % 3 == 1) {
        contributions.Add(2, 1.5f, RandomValues(random, 300));
      }
      const BufferRef before = pair.store.current(slot);
      pair.Attempt(slot, round, contributions);
      pair.naive[0].Step(round, contributions);
      if (contributions.total() == 0 && GetParam() != OptimizerKind::kAggregate) {
        ASSERT_TRUE(SameBits(pair.store.current(slot)->values(), before->values()));
      }
      ASSERT_TRUE(SameBits(pair.store.current(slot)->values(), pair.naive[0].parameters())) << "round " << round;
    }
  });
}

TEST_P(EveryOptimizerTest, Round_WithoutWeightUndone_ComesBackWithWeight) {
  ForEachSeed(10, [](Random& random) {
    Pair pair(GetParam(), {77}, random);
    const Slot slot(0);
    for (uint64_t round = 1; round <= 5; ++round) {
      pair.store.Commit();
      pair.Attempt(slot, round, Contributions());
      pair.store.Undo(slot);
      const auto contributions = Contributions::AtRandom(random, 77, 3);
      pair.Attempt(slot, round, contributions);
      pair.naive[0].Step(round, contributions);
      ASSERT_TRUE(SameBits(pair.store.current(slot)->values(), pair.naive[0].parameters())) << "round " << round;
    }
  });
}

// Does to `store` what the journal's record of a round says.
void Replay(BlockStore& store, Slot slot, uint64_t round, const Made& made, bool nothing) {
  const auto copy = [&](const BufferRef& from) {
    BufferRef to = store.Take(slot);
    std::copy(from->values().begin(), from->values().end(), to->values().begin());
    return to;
  };
  if (nothing) return store.ReplayNothing(slot);
  if (made.gradient == nullptr) return store.ReplayParameters(slot, copy(made.block));
  store.ReplayGradient(slot, Round(round), copy(made.gradient));
}

TEST_P(EveryOptimizerTest, Replay_OfWhatComputeMadeAndUndid_GivesTheSameBits) {
  ForEachSeed(40, [](Random& random) {
    Pair pair(GetParam(), {3000}, random);
    const Slot slot(0);
    BlockStore replica({3000}, OptionsOf(GetParam()), kSchedule);
    Replay(replica, slot, 0, {pair.store.current(slot), nullptr}, false);
    for (uint64_t round = 1; round <= 12; ++round) {
      pair.store.Commit();
      replica.Commit();
      for (uint64_t attempts = Uniform(random, 1, 3); attempts > 0; --attempts) {
        const auto contributions = Contributions::AtRandom(random, 3000, 3);
        const Made made = pair.store.Compute(slot, Round(round), contributions.Input());
        pair.store.Publish(slot, made.block);
        Replay(replica, slot, round, made, contributions.total() == 0);
        ASSERT_TRUE(SameBits(replica.current(slot)->values(), made.block->values())) << "round " << round;
        if (attempts == 1) break;
        pair.store.Undo(slot);
        replica.Undo(slot);
      }
    }
  });
}

TEST_P(EveryOptimizerTest, Snapshot_WrittenWhileRoundsGoOn_RestoresAndContinuesWithTheSameBits) {
  ForEachSeed(40, [](Random& random) {
    Pair pair(GetParam(), {2500}, random);
    const Slot slot(0);
    std::vector<Contributions> rounds(11);
    const uint64_t taken = Uniform(random, 1, 9);
    std::optional<BlockSnapshot> snapshot;
    for (uint64_t round = 1; round <= 10; ++round) {
      rounds[round] = Contributions::AtRandom(random, 2500, 3);
      pair.store.Commit();
      pair.Attempt(slot, round, rounds[round]);
      if (round == taken) snapshot = pair.store.Snapshot(slot);
    }
    std::vector<Values> state;
    snapshot->WriteState(state);
    const std::vector<absl::Span<const float>> views(state.begin(), state.end());
    BlockStore restored({2500}, OptionsOf(GetParam()), kSchedule);
    restored.Restore(slot, snapshot->parameters(), views);
    for (uint64_t round = taken + 1; round <= 10; ++round) {
      restored.Publish(slot, restored.Compute(slot, Round(round), rounds[round].Input()).block);
      restored.Commit();
    }
    ASSERT_TRUE(SameBits(restored.current(slot)->values(), pair.store.current(slot)->values())) << "from " << taken;
  });
}

TEST_P(EveryOptimizerTest, Gradient_WhileTheJournalHoldsIt_IsNotWrittenOver) {
  ForEachSeed(5, [](Random& random) {
    Pair pair(GetParam(), {4000}, random);
    const Slot slot(0);
    Made held = pair.store.Compute(slot, Round(1), Contributions::AtRandom(random, 4000, 1).Input());
    pair.store.Publish(slot, held.block);
    if (held.gradient == nullptr) return;
    const Values before(held.gradient->values().begin(), held.gradient->values().end());
    for (uint64_t round = 2; round <= 4; ++round) {
      pair.store.Commit();
      pair.Attempt(slot, round, Contributions::AtRandom(random, 4000, 1));
    }
    ASSERT_TRUE(SameBits(held.gradient->values(), before));
  });
}

TEST_P(EveryOptimizerTest, Ranks_MoreThanEight_GroupedEqualsUngrouped) {
  ForEachSeed(15, [](Random& random) {
    constexpr size_t kElements = 3000;
    const auto ranks = static_cast<uint32_t>(Uniform(random, 9, 40));
    const uint64_t seed = random();
    Random one(seed);
    Random other(seed);
    Pair plain(GetParam(), {kElements}, one);
    Pair grouped(GetParam(), {kElements}, other);
    const Slot slot(0);
    for (uint64_t round = 1; round <= 4; ++round) {
      const auto contributions = Contributions::AtRandom(random, kElements, ranks);
      plain.store.Commit();
      grouped.store.Commit();
      plain.Attempt(slot, round, contributions);
      RoundInput input{.contributions = {}, .group_sums = {}, .grouped = true, .total_weight = contributions.total()};
      std::vector<BufferRef> sums;
      for (uint32_t group = 0; group <= (ranks - 1) / compute::kRadix; ++group) {
        const std::vector<Contribution> members = contributions.Group(group);
        sums.push_back(members.empty() ? nullptr : grouped.store.SumGroup(slot, members).sum);
        input.group_sums.push_back(members.empty() ? nullptr : sums.back()->values().data());
      }
      grouped.store.Publish(slot, grouped.store.Compute(slot, Round(round), input).block);
      ASSERT_TRUE(SameBits(grouped.store.current(slot)->values(), plain.store.current(slot)->values()))
          << ranks << " ranks, round " << round;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryOptimizerTest, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(compute::OptimizerKindName(kind.param)); });

// ---- Memory ----

TEST(BlockStoreTest, Store_New_HasNoVersion) {
  const BlockStore store({3, 5}, {}, {});
  EXPECT_EQ(store.blocks(), 2u);
  EXPECT_EQ(store.elements(Slot(1)), 5u);
  EXPECT_EQ(store.parameter_bytes(), 32u);
  EXPECT_EQ(store.current(Slot(0)), nullptr);
  EXPECT_EQ(store.previous(Slot(0)), nullptr);
}

TEST(BlockStoreTest, InitialValues_OfRoundZero_AreThePayloadWhateverItsWeight) {
  BlockStore store({4}, {}, {});
  Contributions contributions;
  contributions.Add(0, 8, {1, -0.0f, 3, 4});
  store.Publish(Slot(0), store.Compute(Slot(0), Round(0), contributions.Input()).block);
  EXPECT_TRUE(SameBits(store.current(Slot(0))->values(), Values{1, -0.0f, 3, 4}));
}

TEST(BlockStoreTest, InitialValues_Undone_AreNone) {
  Random random(1);
  Pair pair(OptimizerKind::kAdam, {4}, random);
  pair.store.Undo(Slot(0));
  EXPECT_EQ(pair.store.current(Slot(0)), nullptr);
}

TEST(BlockStoreTest, Version_BeforeTheNewest_IsThereUntilCommitted) {
  Random random(1);
  Pair pair(OptimizerKind::kSgd, {10, 10}, random);
  pair.store.Commit();
  const BufferRef zero = pair.store.current(Slot(0));
  pair.Attempt(Slot(0), 1, Contributions::AtRandom(random, 10, 1));
  EXPECT_EQ(pair.store.previous(Slot(0)), zero);
  pair.store.Commit();
  EXPECT_EQ(pair.store.previous(Slot(0)), nullptr);
}

TEST(BlockStoreTest, Block_StillBeingSent_IsNeverWrittenOver) {
  ForEachSeed(20, [](Random& random) {
    const OptimizerKind kind = kKinds[Uniform(random, 0, kKinds.size() - 1)];
    Pair pair(kind, {50, 50}, random);
    std::vector<std::pair<BufferRef, Values>> sending;
    for (uint64_t round = 1; round <= 30; ++round) {
      pair.store.Commit();
      for (uint32_t s = 0; s < 2; ++s) {
        pair.Attempt(Slot(s), round, Contributions::AtRandom(random, 50, 3));
        if (random() % 3 == 0) {
          pair.store.Undo(Slot(s));
          pair.Attempt(Slot(s), round, Contributions::AtRandom(random, 50, 3));
        }
        const BufferRef& block = pair.store.current(Slot(s));
        if (random() % 2 == 0) sending.emplace_back(block, Values(block->values().begin(), block->values().end()));
      }
      for (const auto& [block, bytes] : sending) ASSERT_TRUE(SameBits(block->values(), bytes)) << "round " << round;
      if (!sending.empty() && random() % 2 == 0) sending.erase(sending.begin());
    }
  });
}

TEST(BlockStoreTest, Block_InARecycledBuffer_HasNoChecksum) {
  Random random(7);
  Pair pair(OptimizerKind::kMomentum, {50}, random);
  std::map<const float*, int> uses;
  for (uint64_t round = 1; round <= 10; ++round) {
    pair.store.Commit();
    Contributions contributions;
    contributions.Add(0, 1, RandomValues(random, 50));
    const BufferRef block = pair.store.Compute(Slot(0), Round(round), contributions.Input()).block;
    ASSERT_FALSE(block->checksum.has_value()) << "round " << round;
    block->checksum = round;
    ++uses[block->values().data()];
    pair.store.Publish(Slot(0), block);
  }
  EXPECT_LT(uses.size(), 5u) << "memory is used again";
}

}  // namespace
}  // namespace lockstep::storage
