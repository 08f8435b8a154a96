#include "server/compute/plain_math.h"

#include <numbers>

namespace lockstep::compute::internal {
namespace {

// For |angle| <= pi/4 the tenth term of either Taylor series is below 1e-17.
constexpr int kTerms = 10;

// 1 - a^2/((k+1)(k+2)) * (1 - a^2/((k+3)(k+4)) * ...), from the inside out (Horner).
// k = 0 is the series of the cosine, k = 1 that of the sine divided by the angle.
double Series(double angle, int k) {
  const double square = angle * angle;
  double sum = 1;
  for (int term = kTerms; term >= 1; --term) {
    const double divisor = (2.0 * term + k - 1) * (2.0 * term + k);
    sum = 1 - square / divisor * sum;
  }
  return sum;
}

double SmallCosinePi(double x) { return Series(std::numbers::pi * x, 0); }

double SmallSinePi(double x) { return std::numbers::pi * x * Series(std::numbers::pi * x, 1); }

}  // namespace

double Power(double base, uint64_t exponent) {
  double power = 1;
  for (; exponent != 0; exponent >>= 1) {
    if (exponent & 1) {
      power *= base;
    }
    base *= base;
  }
  return power;
}

// The differences 1 - x and 0.5 - x are exact where they are taken.
double CosinePi(double x) {
  if (x > 0.5) {
    return -CosinePi(1 - x);
  }
  return x > 0.25 ? SmallSinePi(0.5 - x) : SmallCosinePi(x);
}

}  // namespace lockstep::compute::internal
