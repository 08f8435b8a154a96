#ifndef LOCKSTEP_SERVER_COMPUTE_PLAIN_MATH_H_
#define LOCKSTEP_SERVER_COMPUTE_PLAIN_MATH_H_

// The two functions that <cmath> computes with different last bits on different systems, made of
// nothing but IEEE double multiplies, adds and divides: the same bits everywhere.
//
// Thread-safety: pure functions.

#include <cstdint>

namespace lockstep::compute::internal {

// base^exponent, by repeated squaring. base^0 is 1.
double Power(double base, uint64_t exponent);

// cos(pi * x) for 0 <= x <= 1, to within 1e-15. Exactly 1, 0 and -1 at x = 0, 1/2 and 1.
double CosinePi(double x);

}  // namespace lockstep::compute::internal

#endif  // LOCKSTEP_SERVER_COMPUTE_PLAIN_MATH_H_
