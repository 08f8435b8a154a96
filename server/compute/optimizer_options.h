#ifndef LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_OPTIONS_H_
#define LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_OPTIONS_H_

// Which optimizer a run uses, its settings, and the state that it keeps. Names and meanings are
// those of torch.optim.
//
// Thread-safety: pure functions and plain data.

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lockstep::compute {

// The update rules. optimizer.h has the formulas.
enum class OptimizerKind {
  kAggregate,  // none: the published block is the mean gradient, and workers apply their own
  kSgd,        // torch.optim.SGD(momentum=0)
  kMomentum,   // torch.optim.SGD(momentum=...)
  kNesterov,   // torch.optim.SGD(momentum=..., nesterov=True)
  kAdam,       // torch.optim.Adam
  kAdamW,      // torch.optim.AdamW
  kAdagrad,    // torch.optim.Adagrad
};

// Settings of an optimizer. Those that a kind doesn't use are ignored, and not validated.
struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kSgd;
  double lr = 0.1;          // base learning rate; a schedule may scale it (schedule.h)
  double momentum = 0.9;    // momentum, nesterov
  double beta1 = 0.9;       // adam, adamw: decay of the gradient's running mean
  double beta2 = 0.999;     // adam, adamw: decay of the squared gradient's running mean
  double epsilon = 1e-8;    // adam, adamw, adagrad: added to the denominator
  double weight_decay = 0;  // L2 (added to the gradient); decoupled for adamw; not for aggregate
};

// Returns the settings that torch.optim has by default for `kind` (SGD and its variants, where
// PyTorch requires the caller to choose, have lr 0.1 and momentum 0.9).
OptimizerOptions DefaultOptions(OptimizerKind kind);

// Returns the kind named "aggregate", "sgd", "momentum", "nesterov", "adam", "adamw" or "adagrad".
// InvalidArgument, listing the names, for any other name.
absl::StatusOr<OptimizerKind> ParseOptimizerKind(absl::string_view name);

// Returns the name that ParseOptimizerKind reads. Lives forever.
absl::string_view OptimizerKindName(OptimizerKind kind);

// InvalidArgument, saying what was expected and what came, if a setting that the kind uses is out
// of range: lr and weight_decay finite and >= 0; momentum in [0, 1], > 0 for nesterov; betas in
// [0, 1); epsilon > 0, also as fp32; no weight decay with aggregate.
absl::Status Validate(const OptimizerOptions& options);

// Returns how many arrays of the model's size the kind keeps as state: 0, 1 or 2.
int StateSlots(OptimizerKind kind);

// Returns the names of these arrays, in the order of the slots, as in PyTorch's state_dict:
// "momentum_buffer"; "exp_avg", "exp_avg_sq"; "sum". Lives forever.
absl::Span<const absl::string_view> StateSlotNames(OptimizerKind kind);

}  // namespace lockstep::compute

#endif  // LOCKSTEP_SERVER_COMPUTE_OPTIMIZER_OPTIONS_H_
