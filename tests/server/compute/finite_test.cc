#include "server/compute/finite.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/server/compute/seeds.h"
#include "tests/server/compute/simd_targets.h"

namespace lockstep::compute {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kMax = std::numeric_limits<float>::max();

std::vector<float> BadValues() {
  return {kInf, -kInf, std::nanf(""), -std::nanf(""), std::bit_cast<float>(0x7f800001u), std::bit_cast<float>(~0u)};
}

// Values of all magnitudes, the largest and the denormal ones included.
std::vector<float> FiniteValues(Random& random, size_t size) {
  std::vector<float> values(size);
  for (float& value : values) {
    do {
      value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    } while (!std::isfinite(value));
  }
  if (size > 0) values[random() % size] = random() % 2 == 0 ? kMax : -kMax;
  return values;
}

// The bytes of `values` in slices of random lengths, some of which are empty or end within a value.
std::vector<ByteSlice> Cut(Random& random, absl::Span<const float> values) {
  ByteSlice rest(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float));
  std::vector<ByteSlice> slices;
  while (!rest.empty()) {
    slices.push_back(rest.subspan(0, random() % 4000));
    rest.remove_prefix(slices.back().size());
  }
  return slices;
}

TEST(FiniteTest, FiniteValues_AnySizeAndAlignment_NothingIsFound) {
  const int targets = ForEachSimdTarget([] {
    ForEachSeed(5, [](Random& random) {
      for (size_t size = 0; size < 100; ++size) {
        const std::vector<float> values = FiniteValues(random, size + 1);
        const absl::Span<const float> part = absl::MakeConstSpan(values).subspan(1);
        EXPECT_TRUE(AllFinite(part));
        EXPECT_FALSE(FirstNotFinite(part));
        EXPECT_FALSE(FirstNotFinite(Cut(random, part), part.size()));
      }
    });
  });
  EXPECT_GT(targets, 0);
}

TEST(FiniteTest, BadValues_AtAnyPlace_TheFirstIsFound) {
  ForEachSimdTarget([] {
    ForEachSeed(500, [](Random& random) {
      std::vector<float> values = FiniteValues(random, 1 + random() % (random() % 10 == 0 ? 5000 : 100));
      const size_t first = random() % values.size();
      const std::vector<float> bad = BadValues();
      values[first] = bad[random() % bad.size()];
      if (random() % 2 == 0) values[first + random() % (values.size() - first)] = bad[random() % bad.size()];
      EXPECT_FALSE(AllFinite(values));
      for (const auto& found : {FirstNotFinite(values), FirstNotFinite(Cut(random, values), values.size())}) {
        ASSERT_TRUE(found);
        EXPECT_EQ(found->index, first);
        EXPECT_EQ(std::memcmp(&found->value, &values[first], sizeof(float)), 0);
      }
    });
  });
}

TEST(FiniteTest, BadValues_PastTheElementsAskedFor_AreNotLookedAt) {
  const std::vector<float> values = {1, 2, kInf};
  const ByteSlice all(reinterpret_cast<const std::byte*>(values.data()), 12);
  EXPECT_FALSE(FirstNotFinite(absl::MakeConstSpan(&all, 1), 2));
  EXPECT_TRUE(FirstNotFinite(absl::MakeConstSpan(&all, 1), 3));
}

}  // namespace
}  // namespace lockstep::compute
