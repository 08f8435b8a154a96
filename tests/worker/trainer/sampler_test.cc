#include "worker/trainer/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "worker/trainer/permutation.h"

namespace lockstep::trainer {
namespace {

std::vector<uint32_t> Sample(const SamplerOptions& options, uint64_t round, uint32_t rank) {
  std::vector<uint32_t> out;
  SampleIndices(options, round, rank, out);
  return out;
}

// What all ranks take in a round, in rank order.
std::vector<uint32_t> GlobalBatch(const SamplerOptions& options, uint64_t round) {
  std::vector<uint32_t> all;
  for (uint32_t rank = 0; rank < options.workers; ++rank) {
    for (uint32_t index : Sample(options, round, rank)) all.push_back(index);
  }
  return all;
}

std::vector<uint32_t> Epoch(const SamplerOptions& options, uint64_t epoch) {
  std::vector<uint32_t> all;
  const uint64_t rounds = RoundsPerEpoch(options);
  for (uint64_t round = epoch * rounds + 1; round <= (epoch + 1) * rounds; ++round) {
    for (uint32_t index : GlobalBatch(options, round)) all.push_back(index);
  }
  return all;
}

SamplerOptions RandomOptions(uint64_t seed) {
  return {.seed = Mix64(seed),
          .workers = static_cast<uint32_t>(1 + Mix64(seed + 1) % 9),
          .batch = static_cast<uint32_t>(1 + Mix64(seed + 2) % 40),
          .samples = static_cast<uint32_t>(1 + Mix64(seed + 3) % 2000)};
}

TEST(Sampler, RandomSizes_EachEpochTakesEverySampleOnce) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    const SamplerOptions options = RandomOptions(seed * 1000);
    std::vector<uint32_t> expected(options.samples);
    std::iota(expected.begin(), expected.end(), 0u);
    std::vector<uint32_t> taken = Epoch(options, seed % 4);
    std::sort(taken.begin(), taken.end());
    EXPECT_EQ(taken, expected);
  }
}

TEST(Sampler, ReplacedWorker_ContinuesExactly) {
  const SamplerOptions options{.seed = 7, .workers = 4, .batch = 16, .samples = 1000};
  std::vector<uint32_t> reused;
  for (uint64_t round = 1; round <= 50; ++round) {
    SampleIndices(options, round, 2, reused);               // One life, from the first round on.
    EXPECT_EQ(reused, Sample(options, round, 2)) << round;  // A new life that starts here.
  }
}

TEST(Sampler, SameGlobalBatch_HoweverCutAmongWorkers) {
  const SamplerOptions four{.seed = 3, .workers = 4, .batch = 32, .samples = 777};
  SamplerOptions two = four;
  two.workers = 2;
  two.batch = 64;
  for (uint64_t round = 1; round <= 20; ++round) {
    EXPECT_EQ(GlobalBatch(four, round), GlobalBatch(two, round));
  }
}

TEST(Sampler, LastRound_RanksBeyondTheEndGetFewerOrNone) {
  const SamplerOptions options{.seed = 1, .workers = 3, .batch = 4, .samples = 18};
  ASSERT_EQ(RoundsPerEpoch(options), 2u);
  EXPECT_EQ(Sample(options, 2, 0).size(), 4u);
  EXPECT_EQ(Sample(options, 2, 1).size(), 2u);
  EXPECT_EQ(Sample(options, 2, 2).size(), 0u);
  EXPECT_EQ(Sample(options, 3, 2).size(), 4u);
}

TEST(Sampler, NextEpochAndOtherSeed_GiveOtherOrders) {
  const SamplerOptions options{.seed = 1, .workers = 2, .batch = 50, .samples = 1000};
  SamplerOptions other = options;
  other.seed = 2;
  EXPECT_NE(Epoch(options, 0), Epoch(options, 1));
  EXPECT_NE(Epoch(options, 0), Epoch(other, 0));
  EXPECT_EQ(EpochOfRound(options, 10), 0u);
  EXPECT_EQ(EpochOfRound(options, 11), 1u);
}

TEST(Sampler, SampleCount_IsTheNumberOfIndices) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const SamplerOptions options = RandomOptions(seed * 1000);
    for (uint64_t round = 1; round <= 2 * RoundsPerEpoch(options); ++round) {
      const auto rank = static_cast<uint32_t>(Mix64(seed + round) % options.workers);
      EXPECT_EQ(SampleCount(options, round, rank), Sample(options, round, rank).size()) << seed << " " << round;
    }
  }
}

TEST(Sampler, HugeRoundAndWorkers_DontOverflow) {
  const SamplerOptions options{.seed = 1, .workers = UINT32_MAX, .batch = UINT32_MAX, .samples = UINT32_MAX};
  EXPECT_EQ(RoundsPerEpoch(options), 1u);
  EXPECT_EQ(EpochOfRound(options, UINT64_MAX), UINT64_MAX - 1);
  EXPECT_TRUE(Sample(options, UINT64_MAX, UINT32_MAX - 1).empty());
}

TEST(SamplerDeathTest, CallersBugs_Abort) {
  const SamplerOptions options{.seed = 1, .workers = 2, .batch = 1, .samples = 10};
  std::vector<uint32_t> out;
  EXPECT_DEATH(SampleIndices(options, 0, 0, out), "counted from 1");
  EXPECT_DEATH(SampleIndices(options, 1, 2, out), "rank");
}

}  // namespace
}  // namespace lockstep::trainer
