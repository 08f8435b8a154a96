// Models by name, for command lines.
#ifndef WORKER_TRAINER_MAKE_MODEL_H_
#define WORKER_TRAINER_MAKE_MODEL_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/model.h"

namespace lockstep::trainer {

struct ModelOptions {
  size_t features = 0;
  size_t classes = 0;
  size_t hidden = 128;  // Hidden units; of the "mlp" only.
};

// `name` is "softmax" (SoftmaxRegression) or "mlp" (Mlp). InvalidArgument: another name, or a size
// of zero or beyond what BLAS's 32-bit sizes hold.
absl::StatusOr<std::unique_ptr<Model>> MakeModel(const std::string& name, const ModelOptions& options);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_MAKE_MODEL_H_
