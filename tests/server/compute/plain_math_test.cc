#include "server/compute/plain_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace lockstep::compute::internal {
namespace {

TEST(Power, SmallExponents_AreExact) {
  EXPECT_EQ(Power(0.999, 0), 1);
  EXPECT_EQ(Power(0.999, 1), 0.999);
  EXPECT_EQ(Power(3, 20), 3486784401.0);
  EXPECT_EQ(Power(0, 5), 0);
}

TEST(Power, LargeExponents_AreCloseToTheCLibrary) {
  for (const uint64_t exponent : {10u, 1000u, 123457u}) {
    EXPECT_NEAR(Power(0.9999, exponent) / std::pow(0.9999, exponent), 1, 1e-10);
  }
  EXPECT_EQ(Power(0.9, 100'000'000'000), 0);
}

TEST(CosinePi, QuarterTurns_AreExact) {
  EXPECT_EQ(CosinePi(0), 1);
  EXPECT_EQ(CosinePi(0.5), 0);
  EXPECT_EQ(CosinePi(1), -1);
}

TEST(CosinePi, AllOfTheRange_IsAccurateTo1e15) {
  for (int i = 0; i <= 100'000; ++i) {
    const double x = i / 100'000.0;
    const long double want = std::cos(std::numbers::pi_v<long double> * x);
    ASSERT_NEAR(CosinePi(x), static_cast<double>(want), 1e-15) << x;
  }
}

}  // namespace
}  // namespace lockstep::compute::internal
