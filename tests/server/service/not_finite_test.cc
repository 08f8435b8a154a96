// The culprit is found wherever it is: any rank and group of the radix-8 tree, any element, NaN and both infinities,
// however the payload is cut; and by the whole way that a payload takes through sum and reduction.
#include "server/service/not_finite.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "server/service/shard_performer.h"
#include "server/storage/block_store.h"
#include "tests/server/compute/seeds.h"

namespace lockstep::service {
namespace {

using compute::Random;
using compute::Uniform;

constexpr float kInf = std::numeric_limits<float>::infinity();

// What comes of the work; it stays here.
struct Recorder : ShardEvents {
  void OnGroupSummed(Slot, uint32_t group, storage::BufferRef sum) override { sums[group] = std::move(sum); }
  void OnReduced(Slot, storage::Made of) override { made = std::move(of); }
  void OnNotFinite(Slot, std::vector<InBlock> what) override { found = std::move(what); }

  std::map<uint32_t, storage::BufferRef> sums;
  std::optional<storage::Made> made;
  std::vector<InBlock> found;
};

// A round of one block.
class Round1 {
 public:
  Round1(Random& random, uint32_t ranks, size_t elements, compute::OptimizerOptions optimizer = {})
      : random_(random), store_({static_cast<int64_t>(elements)}, optimizer, {}) {
    const std::vector<float> zeros(elements);
    const compute::ByteSlice slice(reinterpret_cast<const std::byte*>(zeros.data()), elements * sizeof(float));
    const storage::RoundInput initial{.contributions = {{.rank = 0, .weight = 1, .slices = {&slice, 1}}},
                                      .group_sums = {}};
    store_.Publish(Slot(0), store_.Compute(Slot(0), Round(0), initial).block);
    for (uint32_t r = 0; r < ranks; ++r) {
      std::vector<float>& gradient = gradients_.emplace_back(elements);
      for (float& value : gradient) value = compute::RandomFloat(random);
      weights_.push_back(static_cast<float>(1 + random() % 5));
    }
  }
  std::vector<float>& gradient(uint32_t rank) { return gradients_[rank]; }
  float& weight(uint32_t rank) { return weights_[rank]; }
  storage::BlockStore& store() { return store_; }

  // By the way that the core would order.
  Recorder Run(bool check = true) {
    Recorder recorder;
    ShardPerformer performer(
        ShardIndex(0), /*checksums=*/true, [](const v1::ShardMessage&) {}, &recorder);
    const auto ranks = static_cast<uint32_t>(gradients_.size());
    const uint32_t groups = (ranks + compute::kRadix - 1) / compute::kRadix;
    ReducePayloads reduce;
    reduce.store = &store_;
    reduce.round = Round(1);
    reduce.grouped = groups > 1;
    reduce.check_finite = check;
    for (float weight : weights_) reduce.total_weight += weight;
    for (uint32_t g = 0; g < groups; ++g) {
      std::vector<KeptPayload> payloads;
      for (uint32_t r = g * compute::kRadix; r < std::min(ranks, (g + 1) * compute::kRadix); ++r) {
        payloads.push_back({Rank(r), weights_[r], Cut(gradients_[r])});
      }
      if (groups == 1) {
        reduce.payloads = std::move(payloads);
      } else {
        WorkList sum;
        sum.push_back(SumPayloads{&store_, Slot(0), g, check, std::move(payloads)});
        performer.Perform(std::move(sum));
        if (!recorder.found.empty()) return recorder;
        reduce.group_sums.push_back(recorder.sums.at(g));
      }
    }
    WorkList work;
    work.push_back(std::move(reduce));
    performer.Perform(std::move(work));
    return recorder;
  }

 private:
  wire::Slices Cut(const std::vector<float>& values) {
    wire::Slices slices;
    const char* at = reinterpret_cast<const char*>(values.data());
    for (size_t rest = values.size() * sizeof(float); rest > 0;) {
      const size_t length = std::min<size_t>(rest, Uniform(random_, 1, 9000));
      slices.push_back(grpc::Slice(at, length));
      at += length;
      rest -= length;
    }
    return slices;
  }

  Random& random_;
  storage::BlockStore store_;
  std::vector<std::vector<float>> gradients_;
  std::vector<float> weights_;
};

float BadValue(Random& random) { return std::vector<float>{kInf, -kInf, std::nanf("")}[random() % 3]; }

TEST(NotFiniteTest, BadValue_AnyRankAndElement_IsFound) {
  compute::ForEachSeed(150, [](Random& random) {
    const auto ranks = static_cast<uint32_t>(Uniform(random, 1, 70));
    const size_t elements = Uniform(random, 1, 5000);
    Round1 round(random, ranks, elements);
    const auto rank = static_cast<uint32_t>(random() % ranks);
    const size_t index = random() % elements;
    const float bad = BadValue(random);
    round.gradient(rank)[index] = bad;
    const Recorder recorder = round.Run();
    EXPECT_FALSE(recorder.made);
    ASSERT_EQ(recorder.found.size(), 1u);
    EXPECT_EQ(recorder.found[0].in, core::FoundNotFinite::In::kContribution);
    EXPECT_EQ(recorder.found[0].rank, Rank(rank));
    EXPECT_EQ(recorder.found[0].finding.index, index);
    EXPECT_EQ(std::memcmp(&recorder.found[0].finding.value, &bad, sizeof(bad)), 0);
  });
}

// Inf and -Inf make a NaN, and both have brought it about.
TEST(NotFiniteTest, BadValues_OfTwoRanks_BothAreFoundByRank) {
  compute::ForEachSeed(20, [](Random& random) {
    Round1 round(random, 8, 3000);
    const size_t index = random() % 3000;
    round.gradient(5)[index] = -kInf;
    round.gradient(2)[index] = kInf;
    const Recorder recorder = round.Run();
    ASSERT_EQ(recorder.found.size(), 2u);
    EXPECT_EQ(recorder.found[0].rank, Rank(2));
    EXPECT_EQ(recorder.found[1].rank, Rank(5));
  });
}

TEST(NotFiniteTest, BadValue_OfWeightZero_DoesNotCount) {
  compute::ForEachSeed(5, [](Random& random) {
    for (uint32_t ranks : {3u, 20u}) {
      Round1 round(random, ranks, 100);
      round.gradient(1)[50] = BadValue(random);
      round.weight(1) = 0;
      const Recorder recorder = round.Run();
      EXPECT_TRUE(recorder.found.empty());
      EXPECT_TRUE(recorder.made);
    }
  });
}

TEST(NotFiniteTest, FiniteValues_OfAnySize_PassWithTheSameBits) {
  compute::ForEachSeed(20, [](Random& random) {
    const auto ranks = static_cast<uint32_t>(Uniform(random, 1, 70));
    Round1 round(random, ranks, Uniform(random, 1, 5000));
    const Recorder checked = round.Run(true);
    ASSERT_TRUE(checked.made);
    const Recorder unchecked = round.Run(false);
    ASSERT_TRUE(unchecked.made);
    EXPECT_TRUE(absl::c_equal(checked.made->block->values(), unchecked.made->block->values()));
  });
}

TEST(NotFiniteTest, Sum_OverflowsOfFiniteValues_NobodyIsBlamed) {
  compute::ForEachSeed(5, [](Random& random) {
    for (uint32_t ranks : {2u, 9u}) {
      Round1 round(random, ranks, 3000);
      for (uint32_t r = 0; r < ranks; ++r) round.gradient(r)[2500] = std::numeric_limits<float>::max();
      const Recorder recorder = round.Run();
      ASSERT_EQ(recorder.found.size(), 1u);
      EXPECT_EQ(recorder.found[0].in, core::FoundNotFinite::In::kSum);
      EXPECT_EQ(recorder.found[0].finding.index, 2500u);
    }
  });
}

TEST(NotFiniteTest, Step_OverflowsOfAFiniteMean_NobodyIsBlamed) {
  compute::ForEachSeed(2, [](Random& random) {
    Round1 round(random, 1, 3000, {.lr = 1e10});
    round.weight(0) = 1;
    round.gradient(0)[2100] = 1e38f;
    const Recorder recorder = round.Run();
    ASSERT_EQ(recorder.found.size(), 1u);
    EXPECT_EQ(recorder.found[0].in, core::FoundNotFinite::In::kUpdate);
    EXPECT_EQ(recorder.found[0].finding.index, 2100u);
    EXPECT_LT(recorder.found[0].finding.value, 0);
  });
}

// The optimizer's state is that of the version before: what is computed instead has the bits of a run without it.
TEST(NotFiniteTest, Adam_RoundIsComputedAgainAfterABadOne_NoTraceOfIt) {
  compute::ForEachSeed(10, [](Random& random) {
    std::vector<std::vector<float>> parameters;
    const uint64_t seed = random();
    for (const bool bad : {false, true}) {
      Random same(seed);
      Round1 round(same, 3, 4000, {.kind = compute::OptimizerKind::kAdam});
      Recorder first = round.Run();
      ASSERT_TRUE(first.made);
      round.store().Publish(Slot(0), first.made->block);
      round.store().Commit();
      if (bad) {
        const float good = std::exchange(round.gradient(1)[123], std::nanf(""));
        ASSERT_FALSE(round.Run().found.empty());
        round.gradient(1)[123] = good;
      }
      const Recorder again = round.Run();
      ASSERT_TRUE(again.made);
      const absl::Span<float> values = again.made->block->values();
      parameters.emplace_back(values.begin(), values.end());
    }
    EXPECT_EQ(parameters[0], parameters[1]);
  });
}

}  // namespace
}  // namespace lockstep::service
