// The loop that all kernels share. Included once per instruction set, as Highway wants it.

#if defined(LOCKSTEP_SERVER_COMPUTE_FOR_EACH_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCKSTEP_SERVER_COMPUTE_FOR_EACH_VECTOR_INL_H_
#undef LOCKSTEP_SERVER_COMPUTE_FOR_EACH_VECTOR_INL_H_
#else
#define LOCKSTEP_SERVER_COMPUTE_FOR_EACH_VECTOR_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep::compute::internal {
namespace HWY_NAMESPACE {

// Calls body(tag, offset) over [0, size): whole vectors first, then the rest one lane at a time,
// through the same code. So there is one formula, and no second, scalar copy of it.
template <class Body>
HWY_INLINE void ForEachVector(size_t size, const Body& body) {
  const hwy::HWY_NAMESPACE::ScalableTag<float> vector;
  const hwy::HWY_NAMESPACE::CappedTag<float, 1> single;
  const size_t lanes = hwy::HWY_NAMESPACE::Lanes(vector);
  size_t offset = 0;
  for (; offset + lanes <= size; offset += lanes) {
    body(vector, offset);
  }
  for (; offset < size; ++offset) {
    body(single, offset);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lockstep::compute::internal
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
