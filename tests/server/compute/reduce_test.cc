#include "server/compute/reduce.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <set>
#include <vector>

#include "tests/server/compute/bits.h"
#include "tests/server/compute/reduce_oracle.h"
#include "tests/server/compute/seeds.h"
#include "tests/server/compute/simd_targets.h"

namespace lockstep::compute {
namespace {

// One rank's values, and the bytes as the wire might have cut them.
struct Sender {
  uint32_t rank = 0;
  float weight = 0;
  std::vector<float> values;
  std::vector<std::byte> bytes;  // the values, at any alignment
  std::vector<ByteSlice> slices;
};

// A round of contributions. Senders stay where they are, since contributions refer to them.
struct Round {
  std::deque<Sender> senders;
  std::vector<Contribution> contributions;
};

// Cuts `sender`'s values into slices of at most `longest` bytes, empty ones among them.
void CutIntoSlices(Random& random, size_t longest, Sender& sender) {
  const size_t total = sender.values.size() * sizeof(float);
  const size_t misalignment = Uniform(random, 0, 3);
  sender.bytes.resize(misalignment + total);
  if (total > 0) {
    std::memcpy(sender.bytes.data() + misalignment, sender.values.data(), total);
  }
  sender.slices.clear();
  for (size_t begin = 0; begin < total;) {
    const size_t length = std::min<size_t>(total - begin, Uniform(random, 0, longest));
    sender.slices.emplace_back(sender.bytes.data() + misalignment + begin, length);
    begin += length;
  }
}

void AddSender(Random& random, uint32_t rank, float weight, size_t size, size_t longest, Round& round) {
  Sender& sender = round.senders.emplace_back();
  sender.rank = rank;
  sender.weight = weight;
  if (weight != 0) {
    sender.values.resize(size);
    std::generate(sender.values.begin(), sender.values.end(), [&random] { return RandomFloat(random); });
    CutIntoSlices(random, longest, sender);
  }
  round.contributions.push_back({rank, weight, sender.slices});
}

// Slices of single bytes, of a few, or of about a whole contribution.
size_t RandomLongestSlice(Random& random) {
  constexpr size_t kLongest[] = {1, 3, 7, 33, 1000, 100000};
  return kLongest[Uniform(random, 0, std::size(kLongest) - 1)];
}

float RandomWeight(Random& random) {
  return Uniform(random, 0, 9) == 0 ? 0.0f : static_cast<float>(Uniform(random, 1, 300)) / 7;
}

// Some of the ranks below a bound that is small, or large enough for several levels.
std::set<uint32_t> RandomRanks(Random& random) {
  constexpr uint64_t kBounds[] = {4, 8, 20, 64, 150, 1000, 0xffffffff};
  const uint64_t bound = kBounds[Uniform(random, 0, std::size(kBounds) - 1)];
  std::set<uint32_t> ranks;
  for (uint64_t wanted = Uniform(random, 0, 40); wanted > 0; --wanted) {
    ranks.insert(static_cast<uint32_t>(Uniform(random, 0, bound)));
  }
  return ranks;
}

Round RandomRound(Random& random, size_t size) {
  Round round;
  for (const uint32_t rank : RandomRanks(random)) {
    AddSender(random, rank, RandomWeight(random), size, RandomLongestSlice(random), round);
  }
  return round;
}

Round FullRound(Random& random, uint32_t ranks, size_t size) {
  Round round;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    AddSender(random, rank, RandomFloat(random) + 2, size, 1000, round);
  }
  return round;
}

std::vector<float> OracleSum(const Round& round, size_t size) {
  std::vector<float> sum(size);
  for (size_t i = 0; i < size; ++i) {
    std::map<uint32_t, float> terms;
    for (const Sender& sender : round.senders) {
      if (sender.weight != 0) {
        terms[sender.rank] = sender.weight * sender.values[i];
      }
    }
    sum[i] = OracleTreeSum(terms);
  }
  return sum;
}

std::vector<float> Sum(const Round& round, size_t size) {
  std::vector<float> sum(size, std::numeric_limits<float>::quiet_NaN());
  WeightedSum(round.contributions, absl::MakeSpan(sum));
  return sum;
}

// Sums group by group, then combines, as a shard does that waits for stragglers.
std::vector<float> SumByGroups(const Round& round, size_t size) {
  std::map<uint32_t, std::vector<Contribution>> groups;
  for (const Contribution& contribution : round.contributions) {
    if (contribution.weight != 0) {
      groups[contribution.rank / kRadix].push_back(contribution);
    }
  }
  const size_t group_count = groups.empty() ? 0 : groups.rbegin()->first + 1;
  std::vector<std::vector<float>> sums(group_count);
  std::vector<const float*> group_sums(group_count, nullptr);
  for (const auto& [group, contributions] : groups) {
    sums[group].resize(size);
    GroupSum(contributions, absl::MakeSpan(sums[group]));
    group_sums[group] = sums[group].data();
  }
  std::vector<float> sum(size, std::numeric_limits<float>::quiet_NaN());
  CombineGroups(group_sums, absl::MakeSpan(sum));
  return sum;
}

TEST(WeightedSum, RandomRanksWeightsAndSlices_EqualsOracleBitForBit) {
  ForEachSeed(100, [](Random& random) {
    const size_t size = Uniform(random, 0, 2500);
    const Round round = RandomRound(random, size);
    EXPECT_TRUE(SameBits(Sum(round, size), OracleSum(round, size)));
  });
}

TEST(WeightedSum, OtherSliceBoundaries_SameBits) {
  ForEachSeed(30, [](Random& random) {
    constexpr size_t kSize = 777;
    Round round = FullRound(random, 11, kSize);
    const std::vector<float> before = Sum(round, kSize);
    for (size_t i = 0; i < round.senders.size(); ++i) {
      CutIntoSlices(random, RandomLongestSlice(random), round.senders[i]);
      round.contributions[i].slices = round.senders[i].slices;
    }
    EXPECT_TRUE(SameBits(Sum(round, kSize), before));
  });
}

TEST(WeightedSum, EveryInstructionSet_SameBits) {
  Random random(1);
  constexpr size_t kSize = 4099;
  for (const uint32_t ranks : {1, 2, 3, 4, 5, 6, 7, 8, 9, 70}) {
    const Round round = FullRound(random, ranks, kSize);
    const std::vector<float> want = OracleSum(round, kSize);
    const int targets = ForEachSimdTarget([&] { EXPECT_TRUE(SameBits(Sum(round, kSize), want)) << ranks; });
    EXPECT_GE(targets, 1);
  }
}

TEST(WeightedSum, TreeOrder_IsNotTheFlatOrder) {
  // 2^24 + 1 rounds back to 2^24, so that a flat sum loses both ones, and the tree neither.
  Round round;
  const float values[] = {0x1p24f, 1, 1};
  const uint32_t ranks[] = {0, 8, 9};
  for (int i = 0; i < 3; ++i) {
    Sender& sender = round.senders.emplace_back();
    sender.slices.emplace_back(reinterpret_cast<const std::byte*>(&values[i]), sizeof(float));
    round.contributions.push_back({ranks[i], 1, sender.slices});
  }
  EXPECT_EQ(Sum(round, 1)[0], 0x1p24f + 2);
}

TEST(WeightedSum, ProductAndSum_AreRoundedSeparately) {
  // (1+2^-12)^2 needs 25 bits. Rounded, then minus 1+2^-11, it is 0; fused it would be 2^-24.
  const float values[] = {-(1 + 0x1p-11f), 1 + 0x1p-12f};
  const ByteSlice slices[] = {{reinterpret_cast<const std::byte*>(&values[0]), sizeof(float)},
                              {reinterpret_cast<const std::byte*>(&values[1]), sizeof(float)}};
  const Contribution contributions[] = {{0, 1, absl::MakeConstSpan(slices, 1)},
                                        {1, 1 + 0x1p-12f, absl::MakeConstSpan(slices + 1, 1)}};
  ForEachSimdTarget([&] {
    float sum = -1;
    WeightedSum(contributions, absl::MakeSpan(&sum, 1));
    EXPECT_EQ(sum, 0);
  });
}

TEST(WeightedSum, NothingPresent_IsPositiveZero) {
  const Contribution absent[] = {{3, 0, {}}, {70, 0, {}}};
  std::vector<float> sum(5, -1);
  WeightedSum(absent, absl::MakeSpan(sum));
  EXPECT_TRUE(SameBits(sum, std::vector<float>(5, 0.0f)));
}

TEST(WeightedSum, NegativeZeros_StayNegative) {
  // An absent rank or group that was added as +0 would turn the sum into +0.
  const float zero = -0.0f;
  const ByteSlice slice(reinterpret_cast<const std::byte*>(&zero), sizeof(zero));
  const absl::Span<const ByteSlice> slices(&slice, 1);
  const Contribution contributions[] = {{1, 1, slices}, {2, 0, {}}, {3, 1, slices}, {600, 1, slices}};
  float sum = 1;
  WeightedSum(contributions, absl::MakeSpan(&sum, 1));
  EXPECT_TRUE(std::signbit(sum));
}

TEST(WeightedSumCursor, AnyStretches_EqualTheWhole) {
  ForEachSeed(100, [](Random& random) {
    const size_t size = Uniform(random, 1, 5000);
    const Round round = RandomRound(random, size);
    std::vector<float> sum(size, std::numeric_limits<float>::quiet_NaN());
    WeightedSumCursor cursor(round.contributions);
    for (size_t begin = 0; begin < size;) {
      const size_t length = std::min<size_t>(size - begin, Uniform(random, 0, 1500));
      cursor.Next(absl::MakeSpan(sum).subspan(begin, length));
      begin += length;
    }
    EXPECT_TRUE(SameBits(sum, OracleSum(round, size)));
  });
}

TEST(CombineGroups, SumsOfEachGroup_EqualTheWhole) {
  ForEachSeed(100, [](Random& random) {
    const size_t size = Uniform(random, 0, 2500);
    Round round;
    for (uint32_t rank = 0; rank < 700; ++rank) {
      if (Uniform(random, 0, 9) == 0) {
        AddSender(random, rank, RandomWeight(random), size, 100000, round);
      }
    }
    EXPECT_TRUE(SameBits(SumByGroups(round, size), OracleSum(round, size)));
  });
}

TEST(CombineGroups, NoGroups_IsPositiveZero) {
  float sum = -1;
  CombineGroups({nullptr, nullptr}, absl::MakeSpan(&sum, 1));
  EXPECT_TRUE(SameBits(absl::MakeConstSpan(&sum, 1), {0.0f}));
}

TEST(DivideBy, EveryInstructionSet_EqualsPlainDivision) {
  Random random(2);
  std::vector<float> values(1003);
  std::generate(values.begin(), values.end(), [&random] { return RandomFloat(random); });
  std::vector<float> want = values;
  for (float& value : want) {
    value = value / 96.3f;
  }
  ForEachSimdTarget([&] {
    std::vector<float> got = values;
    DivideBy(96.3f, absl::MakeSpan(got));
    EXPECT_TRUE(SameBits(got, want));
  });
}

TEST(WeightedSumDeathTest, RanksOutOfOrder_Aborts) {
  const Contribution contributions[] = {{4, 0, {}}, {4, 0, {}}};
  EXPECT_DEATH(WeightedSum(contributions, {}), "sorted by rank");
}

TEST(WeightedSumDeathTest, TooFewBytes_Aborts) {
  const std::byte bytes[7] = {};
  const ByteSlice slice(bytes);
  const Contribution contributions[] = {{0, 1, absl::MakeConstSpan(&slice, 1)}};
  float sum[2];
  EXPECT_DEATH(WeightedSum(contributions, absl::MakeSpan(sum)), "fewer values");
}

TEST(GroupSumDeathTest, RanksOfTwoGroups_Aborts) {
  const Contribution contributions[] = {{7, 0, {}}, {8, 0, {}}};
  EXPECT_DEATH(GroupSum(contributions, {}), "same rank / 8");
}

}  // namespace
}  // namespace lockstep::compute
