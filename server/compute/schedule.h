#ifndef LOCKSTEP_SERVER_COMPUTE_SCHEDULE_H_
#define LOCKSTEP_SERVER_COMPUTE_SCHEDULE_H_

// Learning-rate schedules: pure functions of the version, so that a restart, an undone version or
// another number of shards never changes the rate.
//
// W = warmup_rounds, v = version (>= 1), base = the optimizer's lr. The warm-up comes first:
//
//   v <= W      lr = base * v / (W + 1)
//
// so that version 1 gets base / (W + 1), and version W + 1, the first after the warm-up (version 1
// if W = 0), is the first that gets base. From then on, with e = v - 1 - W counting from 0:
//
//   constant    lr = base
//   step        lr = base * gamma^floor(e / step_rounds)
//   cosine      lr = min_lr + (base - min_lr) * (1 + cos(pi * e / T)) / 2,  T = total_rounds - W
//               and min_lr from version total_rounds + 1 on
//
// The same rates in PyTorch, where scheduler.step() is called after each optimizer.step() (minus
// its rounding, since it multiplies its way from rate to rate):
//
//   SequentialLR(optimizer, [LinearLR(optimizer, 1 / (W + 1), total_iters=W), main], [W])
//   main = StepLR(optimizer, step_rounds, gamma)
//        | CosineAnnealingLR(optimizer, T, min_lr)       (PyTorch's goes up again after T)
//
// Computed in double by plain IEEE operations, without the C library's cos and pow: the bits are
// the same everywhere.
//
// Thread-safety: pure functions and plain data.

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::compute {

// The shape of the schedule after the warm-up.
enum class ScheduleKind { kConstant, kStep, kCosine };

// Settings of a schedule. Those that a kind doesn't use are ignored, and not validated.
struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::kConstant;
  uint64_t warmup_rounds = 0;  // all kinds; 0: no warm-up
  uint64_t step_rounds = 1;    // step: rounds between two drops
  double gamma = 0.1;          // step: factor of a drop
  uint64_t total_rounds = 0;   // cosine: length of the schedule, the warm-up included
  double min_lr = 0;           // cosine: where it ends
};

// Returns the kind named "constant", "step" or "cosine". InvalidArgument, listing the names, for
// any other name.
absl::StatusOr<ScheduleKind> ParseScheduleKind(absl::string_view name);

// Returns the name that ParseScheduleKind reads. Lives forever.
absl::string_view ScheduleKindName(ScheduleKind kind);

// InvalidArgument, saying what was expected and what came, if a setting that the kind uses is out
// of range: step_rounds >= 1; gamma finite and > 0; total_rounds > warmup_rounds; min_lr finite
// and >= 0.
absl::Status Validate(const ScheduleOptions& options);

// Returns the learning rate of the step that makes `version` (>= 1, or it aborts). `options` must
// be valid; `base_lr` is the optimizer's lr.
double LearningRate(const ScheduleOptions& options, double base_lr, uint64_t version);

}  // namespace lockstep::compute

#endif  // LOCKSTEP_SERVER_COMPUTE_SCHEDULE_H_
