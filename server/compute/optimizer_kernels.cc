#include "server/compute/optimizer_kernels.h"

// Highway includes this file once per instruction set. Each time HWY_NAMESPACE has another name.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/compute/optimizer_kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "server/compute/for_each_vector-inl.h"
#include "server/compute/optimizer_rules-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep::compute::internal {
namespace HWY_NAMESPACE {

// What a slot past the rule's last one holds: a value that the compiler drops.
template <int kSlot, class Rule, class D>
HWY_INLINE hn::Vec<D> LoadSlot(D d, const float* const* slots, size_t offset) {
  if constexpr (kSlot < Rule::kSlots) {
    return hn::LoadU(d, slots[kSlot] + offset);
  } else {
    return hn::Zero(d);
  }
}

template <class Rule, bool kDecays>
struct PublishBody {
  PublishBody(const OptimizerStep& s, const PublishArrays& a) : step(s), arrays(a) {
    for (int slot = 0; slot < Rule::kSlots; ++slot) {
      slots[slot] = a.state[slot];
    }
  }

  template <class D>
  HWY_INLINE void operator()(D d, size_t offset) const {
    const auto params = hn::LoadU(d, arrays.params + offset);
    auto gradient = hn::LoadU(d, arrays.gradient + offset);
    if constexpr (kDecays) {
      gradient = hn::Add(gradient, hn::Mul(hn::Set(d, step.weight_decay), params));
      hn::StoreU(gradient, d, arrays.gradient + offset);
    }
    const auto first = Rule::First(d, step, gradient, LoadSlot<0, Rule>(d, slots, offset));
    const auto second = Rule::Second(d, step, gradient, LoadSlot<1, Rule>(d, slots, offset));
    hn::StoreU(Rule::Params(d, step, params, gradient, first, second), d, arrays.params_out + offset);
  }

  const OptimizerStep step;
  const PublishArrays arrays;
  const float* slots[2] = {nullptr, nullptr};
};

template <class Rule>
struct FoldBody {
  FoldBody(const OptimizerStep& s, const FoldArrays& a) : step(s), gradients(a.gradient) {
    for (int slot = 0; slot < Rule::kSlots; ++slot) {
      slots[slot] = a.state[slot];
    }
  }

  template <class D>
  HWY_INLINE void operator()(D d, size_t offset) const {
    const auto gradient = hn::LoadU(d, gradients + offset);
    const auto first = Rule::First(d, step, gradient, LoadSlot<0, Rule>(d, slots, offset));
    hn::StoreU(first, d, slots[0] + offset);
    if constexpr (Rule::kSlots == 2) {
      const auto second = Rule::Second(d, step, gradient, LoadSlot<1, Rule>(d, slots, offset));
      hn::StoreU(second, d, slots[1] + offset);
    }
  }

  const OptimizerStep step;
  const float* gradients;
  float* slots[2] = {nullptr, nullptr};
};

template <class Rule>
void PublishWith(const OptimizerStep& step, const PublishArrays& arrays) {
  if (step.weight_decay != 0) {
    ForEachVector(arrays.size, PublishBody<Rule, true>(step, arrays));
  } else {
    ForEachVector(arrays.size, PublishBody<Rule, false>(step, arrays));
  }
}

template <class Rule>
void FoldWith(const OptimizerStep& step, const FoldArrays& arrays) {
  ForEachVector(arrays.size, FoldBody<Rule>(step, arrays));
}

void PublishTarget(const OptimizerStep& step, const PublishArrays& arrays) {
  switch (step.kind) {
    case OptimizerKind::kAggregate:
      return;
    case OptimizerKind::kSgd:
      return PublishWith<SgdRule>(step, arrays);
    case OptimizerKind::kMomentum:
      return PublishWith<MomentumRule>(step, arrays);
    case OptimizerKind::kNesterov:
      return PublishWith<NesterovRule>(step, arrays);
    case OptimizerKind::kAdam:
      return PublishWith<AdamRule>(step, arrays);
    case OptimizerKind::kAdamW:
      return PublishWith<AdamWRule>(step, arrays);
    case OptimizerKind::kAdagrad:
      return PublishWith<AdagradRule>(step, arrays);
  }
}

void FoldTarget(const OptimizerStep& step, const FoldArrays& arrays) {
  switch (step.kind) {
    case OptimizerKind::kAggregate:
    case OptimizerKind::kSgd:
      return;
    case OptimizerKind::kMomentum:
    case OptimizerKind::kNesterov:
      return FoldWith<MomentumRule>(step, arrays);
    case OptimizerKind::kAdam:
    case OptimizerKind::kAdamW:
      return FoldWith<AdamRule>(step, arrays);
    case OptimizerKind::kAdagrad:
      return FoldWith<AdagradRule>(step, arrays);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lockstep::compute::internal
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep::compute::internal {

HWY_EXPORT(PublishTarget);
HWY_EXPORT(FoldTarget);

void PublishBlock(const OptimizerStep& step, const PublishArrays& arrays) {
  HWY_DYNAMIC_DISPATCH(PublishTarget)(step, arrays);
}

void FoldBlock(const OptimizerStep& step, const FoldArrays& arrays) { HWY_DYNAMIC_DISPATCH(FoldTarget)(step, arrays); }

}  // namespace lockstep::compute::internal
#endif  // HWY_ONCE
