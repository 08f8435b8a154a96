#ifndef LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_KERNELS_H_
#define LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_KERNELS_H_

// The SIMD loops under optimizer.h. Each call picks the best instruction set of the CPU at run time
// (Highway's dynamic dispatch); all give the same bits. The arrays need no alignment.
//
// Thread-safety: pure functions.

#include <cstddef>

#include "server/compute/optimizer.h"

namespace lockstep::compute::internal {

// The arrays of Publish. All have `size` elements; `state` has a slot per StateSlots.
struct PublishArrays {
  const float* params;
  const float* const* state;
  float* gradient;
  float* params_out;
  size_t size;
};

// The arrays of Fold. All have `size` elements; `state` has a slot per StateSlots.
struct FoldArrays {
  const float* gradient;
  float* const* state;
  size_t size;
};

// Publish, for every kind but aggregate.
void PublishBlock(const OptimizerStep& step, const PublishArrays& arrays);

// Fold, for the kinds that have state.
void FoldBlock(const OptimizerStep& step, const FoldArrays& arrays);

}  // namespace lockstep::compute::internal

#endif  // LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_KERNELS_H_
