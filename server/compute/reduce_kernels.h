#ifndef LOCKSTEP_SERVER_COMPUTE_REDUCE_KERNELS_H_
#define LOCKSTEP_SERVER_COMPUTE_REDUCE_KERNELS_H_

// The SIMD loops under reduce.h. Each call picks the best instruction set of the CPU at run time
// (Highway's dynamic dispatch). All of them use separate IEEE multiplies, adds and divides, lane by
// lane, so that every instruction set gives the same bits.
//
// Thread-safety: pure functions.

#include <cstddef>

namespace lockstep::compute::internal {

// The most inputs that SumScaled reads in one pass.
inline constexpr size_t kMaxFusedInputs = 8;

// sum[i] = ((w[0]*in[0][i] + w[1]*in[1][i]) + w[2]*in[2][i]) + ..., in one pass.
// `inputs` are `count` addresses (1 <= count <= kMaxFusedInputs) of `size` little-endian fp32
// values each, without any alignment. `sum` must not overlap them.
void SumScaled(const std::byte* const* inputs, const float* weights, size_t count, float* sum, size_t size);

// sum[i] = sum[i] + addend[i], for i < size.
void AddTo(const float* addend, float* sum, size_t size);

// values[i] = values[i] / divisor, for i < size.
void DivideAll(float divisor, float* values, size_t size);

// Whether none of the `size` values is NaN or infinite.
bool AllFinite(const float* values, size_t size);

}  // namespace lockstep::compute::internal

#endif  // LOCKSTEP_SERVER_COMPUTE_REDUCE_KERNELS_H_
