#include "server/compute/reduce_kernels.h"

#include <cstdint>
#include <cstring>

#include "server/compute/require.h"

// Highway includes this file once per instruction set. Each time HWY_NAMESPACE has another name.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/compute/reduce_kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "server/compute/for_each_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep::compute::internal {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Loads values from an address that may be odd. Loading bytes, then naming them floats, is defined
// behaviour where dereferencing a misaligned float pointer is not.
template <class D>
HWY_INLINE hn::Vec<D> LoadBytes(D d, const std::byte* address) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    float value;
    std::memcpy(&value, address, sizeof(value));
    return hn::Set(d, value);
  } else {
    const hn::Repartition<uint8_t, D> bytes;
    return hn::BitCast(d, hn::LoadU(bytes, reinterpret_cast<const uint8_t*>(address)));
  }
}

// The inputs and weights of one call, copied to where no store to the sum can change them.
template <size_t kCount>
struct Inputs {
  Inputs(const std::byte* const* from, const float* scale) {
    std::memcpy(address, from, sizeof(address));
    std::memcpy(weight, scale, sizeof(weight));
  }
  const std::byte* address[kCount];
  float weight[kCount];
};

// A left fold: the sum of the first kTerms products, in order.
template <size_t kTerms, class D, size_t kCount>
HWY_INLINE hn::Vec<D> SumTerms(D d, const Inputs<kCount>& inputs, size_t offset) {
  constexpr size_t kLast = kTerms - 1;
  const auto values = LoadBytes(d, inputs.address[kLast] + offset * sizeof(float));
  const auto product = hn::Mul(hn::Set(d, inputs.weight[kLast]), values);
  if constexpr (kTerms == 1) {
    return product;
  } else {
    return hn::Add(SumTerms<kLast>(d, inputs, offset), product);
  }
}

template <size_t kCount>
struct SumBody {
  template <class D>
  HWY_INLINE void operator()(D d, size_t offset) const {
    hn::StoreU(SumTerms<kCount>(d, inputs, offset), d, sum + offset);
  }
  Inputs<kCount> inputs;
  float* sum;
};

struct AddBody {
  template <class D>
  HWY_INLINE void operator()(D d, size_t offset) const {
    const auto total = hn::Add(hn::LoadU(d, sum + offset), hn::LoadU(d, addend + offset));
    hn::StoreU(total, d, sum + offset);
  }
  const float* addend;
  float* sum;
};

struct DivideBody {
  template <class D>
  HWY_INLINE void operator()(D d, size_t offset) const {
    const auto quotient = hn::Div(hn::LoadU(d, values + offset), hn::Set(d, divisor));
    hn::StoreU(quotient, d, values + offset);
  }
  float divisor;
  float* values;
};

template <size_t kCount>
void SumCount(const std::byte* const* inputs, const float* weights, float* sum, size_t size) {
  ForEachVector(size, SumBody<kCount>{Inputs<kCount>(inputs, weights), sum});
}

void SumScaledTarget(const std::byte* const* inputs, const float* weights, size_t count, float* sum, size_t size) {
  using Function = void (*)(const std::byte* const*, const float*, float*, size_t);
  static constexpr Function kByCount[] = {SumCount<1>, SumCount<2>, SumCount<3>, SumCount<4>,
                                          SumCount<5>, SumCount<6>, SumCount<7>, SumCount<8>};
  kByCount[count - 1](inputs, weights, sum, size);
}

void AddToTarget(const float* addend, float* sum, size_t size) { ForEachVector(size, AddBody{addend, sum}); }

void DivideAllTarget(float divisor, float* values, size_t size) { ForEachVector(size, DivideBody{divisor, values}); }

// The largest exponent of all, which is all ones for NaN and Inf alone. (Not ForEachVector, whose body keeps nothing
// from one vector to the next.) Two chains, since each step waits for the one before it in its own.
bool AllFiniteTarget(const float* values, size_t size) {
  constexpr int32_t kExponent = 0x7f800000;
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> bits;
  const size_t lanes = hn::Lanes(d);
  const auto mask = hn::Set(bits, kExponent);
  const auto exponents = [&](size_t offset) { return hn::And(hn::BitCast(bits, hn::LoadU(d, values + offset)), mask); };
  auto even = hn::Zero(bits);
  auto odd = hn::Zero(bits);
  size_t offset = 0;
  for (; offset + 2 * lanes <= size; offset += 2 * lanes) {
    even = hn::Max(even, exponents(offset));
    odd = hn::Max(odd, exponents(offset + lanes));
  }
  bool finite = hn::AllTrue(bits, hn::Lt(hn::Max(even, odd), mask));
  for (; offset < size; ++offset) {
    int32_t last;
    std::memcpy(&last, values + offset, sizeof(last));
    finite = finite && (last & kExponent) != kExponent;
  }
  return finite;
}

}  // namespace HWY_NAMESPACE
}  // namespace lockstep::compute::internal
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep::compute::internal {

HWY_EXPORT(SumScaledTarget);
HWY_EXPORT(AddToTarget);
HWY_EXPORT(DivideAllTarget);
HWY_EXPORT(AllFiniteTarget);

void SumScaled(const std::byte* const* inputs, const float* weights, size_t count, float* sum, size_t size) {
  Require(count >= 1 && count <= kMaxFusedInputs, "SumScaled takes 1 to 8 inputs");
  HWY_DYNAMIC_DISPATCH(SumScaledTarget)(inputs, weights, count, sum, size);
}

void AddTo(const float* addend, float* sum, size_t size) { HWY_DYNAMIC_DISPATCH(AddToTarget)(addend, sum, size); }

void DivideAll(float divisor, float* values, size_t size) {
  HWY_DYNAMIC_DISPATCH(DivideAllTarget)(divisor, values, size);
}

bool AllFinite(const float* values, size_t size) { return HWY_DYNAMIC_DISPATCH(AllFiniteTarget)(values, size); }

}  // namespace lockstep::compute::internal
#endif  // HWY_ONCE
