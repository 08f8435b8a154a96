#include "common/weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lockstep {
namespace {

TEST(WeightTest, Limits_AreTakenAndWhatIsBeyondIsNot) {
  for (float weight : {0.0f, -0.0f, 1e-45f, 1.0f, kMaxWeight}) EXPECT_TRUE(IsWeight(weight)) << weight;
  const float infinity = std::numeric_limits<float>::infinity();
  for (float weight : {-1e-45f, -1.0f, std::nextafter(kMaxWeight, infinity), infinity, -infinity, std::nanf("")}) {
    EXPECT_FALSE(IsWeight(weight)) << weight;
  }
}

TEST(WeightTest, Sum_OfTheLargestRun_IsFinite) {
  float sum = 0;
  for (uint32_t worker = 0; worker < kMaxWorkers; ++worker) sum += kMaxWeight;
  EXPECT_TRUE(std::isfinite(sum)) << sum;
}

}  // namespace
}  // namespace lockstep
