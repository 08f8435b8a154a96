// The update rules, one struct each, over one vector of elements. optimizer.h has the formulas.
// Included once per instruction set, as Highway wants it.
//
// A rule says how many state slots it has, what First and Second become (from the effective
// gradient and their old value), and what the parameters become, given the NEW state. Publish and
// Fold both call First and Second, which is why they agree bit for bit.

#if defined(LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_RULES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_RULES_INL_H_
#undef LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_RULES_INL_H_
#else
#define LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_RULES_INL_H_
#endif

#include "hwy/highway.h"
#include "server/compute/optimizer.h"

HWY_BEFORE_NAMESPACE();
namespace lockstep::compute::internal {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// scale * values + addend, rounded twice.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ScaleThenAdd(D d, float scale, V values, V addend) {
  return hn::Add(hn::Mul(hn::Set(d, scale), values), addend);
}

// params - step_size * direction, rounded twice.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Descend(D d, const OptimizerStep& step, V params, V direction) {
  return hn::Sub(params, hn::Mul(hn::Set(d, step.step_size), direction));
}

struct SgdRule {
  static constexpr int kSlots = 0;

  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V First(D /*d*/, const OptimizerStep& /*step*/, V /*gradient*/, V old) {
    return old;
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Second(D /*d*/, const OptimizerStep& /*step*/, V /*gradient*/, V old) {
    return old;
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Params(D d, const OptimizerStep& step, V params, V gradient, V /*first*/, V /*second*/) {
    return Descend(d, step, params, gradient);
  }
};

struct MomentumRule : SgdRule {
  static constexpr int kSlots = 1;

  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V First(D d, const OptimizerStep& step, V gradient, V buffer) {
    return ScaleThenAdd(d, step.momentum, buffer, gradient);
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Params(D d, const OptimizerStep& step, V params, V /*gradient*/, V buffer, V /*second*/) {
    return Descend(d, step, params, buffer);
  }
};

struct NesterovRule : MomentumRule {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Params(D d, const OptimizerStep& step, V params, V gradient, V buffer, V /*second*/) {
    return Descend(d, step, params, ScaleThenAdd(d, step.momentum, buffer, gradient));
  }
};

struct AdamRule {
  static constexpr int kSlots = 2;

  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V First(D d, const OptimizerStep& step, V gradient, V mean) {
    return ScaleThenAdd(d, step.beta1, mean, hn::Mul(hn::Set(d, step.one_minus_beta1), gradient));
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Second(D d, const OptimizerStep& step, V gradient, V square) {
    const auto scaled = hn::Mul(hn::Set(d, step.one_minus_beta2), gradient);
    return ScaleThenAdd(d, step.beta2, square, hn::Mul(scaled, gradient));
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Params(D d, const OptimizerStep& step, V params, V /*gradient*/, V mean, V square) {
    const auto root = hn::Div(hn::Sqrt(square), hn::Set(d, step.root_of_correction));
    const auto denominator = hn::Add(root, hn::Set(d, step.epsilon));
    const auto scaled = hn::Mul(hn::Set(d, step.step_size), mean);
    return hn::Sub(params, hn::Div(scaled, denominator));
  }
};

struct AdamWRule : AdamRule {
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Params(D d, const OptimizerStep& step, V params, V gradient, V mean, V square) {
    const auto kept = hn::Mul(hn::Set(d, step.keep), params);
    return AdamRule::Params(d, step, kept, gradient, mean, square);
  }
};

struct AdagradRule : SgdRule {
  static constexpr int kSlots = 1;

  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V First(D /*d*/, const OptimizerStep& /*step*/, V gradient, V sum) {
    return hn::Add(sum, hn::Mul(gradient, gradient));
  }
  template <class D, class V = hn::Vec<D>>
  static HWY_INLINE V Params(D d, const OptimizerStep& step, V params, V gradient, V sum, V /*second*/) {
    const auto denominator = hn::Add(hn::Sqrt(sum), hn::Set(d, step.epsilon));
    const auto scaled = hn::Mul(hn::Set(d, step.step_size), gradient);
    return hn::Sub(params, hn::Div(scaled, denominator));
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace lockstep::compute::internal
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
