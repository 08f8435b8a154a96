#ifndef LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_H_
#define LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_H_

// One step of an optimizer over one block, as two pure passes: a version can be undone until it is
// committed, so its parameters are published first, and the state moves only at the commit.
//
//   mean gradient ──Publish──> parameters of the version    (tentative: may be undone)
//         └─ effective gradient ──Fold──> state             (once the version is committed)
//
// Formulas, those of torch.optim with its defaults (dampening 0, lr_decay 0, amsgrad off, initial
// accumulator 0). g: mean gradient, p: parameters, d: weight decay, t: version; all others in
// OptimizerOptions. The state is all zeros before version 1.
//
//   aggregate  published = g
//   sgd        g += d*p                                      p -= lr*g
//   momentum   g += d*p;  b = momentum*b + g;                p -= lr*b
//   nesterov   g += d*p;  b = momentum*b + g;                p -= lr*(g + momentum*b)
//   adagrad    g += d*p;  s = s + g*g;                       p -= lr*g / (sqrt(s) + epsilon)
//   adam       g += d*p;  m = beta1*m + (1-beta1)*g;
//                         v = beta2*v + (1-beta2)*g*g;
//              p -= lr/(1-beta1^t)*m / (sqrt(v)/sqrt(1-beta2^t) + epsilon)
//   adamw      p *= 1 - lr*d;  then like adam with d = 0
//
// 1. Publish computes the new state on the fly by the very operations of Fold. So Publish, then
//    Fold, gives the bits of an optimizer that updates everything in place.
// 2. Every element is computed by plain IEEE fp32 operations, never FMA; constants are computed in
//    double without the C library's pow and rounded to fp32 once. So the bits are the same on every
//    CPU, and however the elements are cut into calls.
// 3. With weight decay 0 the term d*p is left out, as PyTorch does.
//
// Thread-safety: pure functions; calls on disjoint arrays may run at the same time.
// Errors: none from the environment. A caller's bug (version 0, sizes that differ) aborts.

#include <cstdint>

#include "absl/types/span.h"
#include "server/compute/optimizer_options.h"

namespace lockstep::compute {

// The constants of one version's step, as the loops use them. Fields that the kind doesn't use
// have no meaning.
struct OptimizerStep {
  OptimizerKind kind = OptimizerKind::kSgd;
  float step_size = 0;           // lr; adam and adamw: lr / (1 - beta1^t)
  float weight_decay = 0;        // added to the gradient as weight_decay*p; 0 for adamw
  float keep = 1;                // adamw: 1 - lr*weight_decay, the factor on p
  float momentum = 0;            // momentum, nesterov
  float beta1 = 0;               // adam, adamw
  float one_minus_beta1 = 0;     // adam, adamw
  float beta2 = 0;               // adam, adamw
  float one_minus_beta2 = 0;     // adam, adamw
  float root_of_correction = 1;  // adam, adamw: sqrt(1 - beta2^t)
  float epsilon = 0;             // adam, adamw, adagrad
};

// Returns the constants of the step that makes `version` (>= 1). `options` must be valid; `lr` is
// the learning rate of that version, and options.lr is not used.
OptimizerStep MakeStep(const OptimizerOptions& options, double lr, uint64_t version);

// Writes the parameters after the step to `params_out`, from the parameters, the state (a slot per
// StateSlots, each of the block's size) and the gradient before it. Neither params nor state
// change. `gradient` comes in as the mean gradient and leaves as the effective one, with L2 weight
// decay added, which Fold wants: without weight decay it doesn't change.
//
// All spans have the same size. `params_out` may be `params` itself, but nothing else may overlap.
// With aggregate, `params` is not read and may be empty.
void Publish(const OptimizerStep& step, absl::Span<const float> params, absl::Span<const float* const> state,
             absl::Span<float> gradient, absl::Span<float> params_out);

// Moves the state forward by the step, in place. `gradient` is the effective gradient that Publish
// left. Does nothing for kinds without state.
void Fold(const OptimizerStep& step, absl::Span<const float> gradient, absl::Span<float* const> state);

}  // namespace lockstep::compute

#endif  // LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_H_
