#include "worker/trainer/make_model.h"

#include <climits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "worker/trainer/mlp.h"
#include "worker/trainer/softmax.h"

namespace lockstep::trainer {
namespace {

absl::Status CheckSize(absl::string_view what, size_t value) {
  if (value > 0 && value <= INT_MAX) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("model: ", what, " must be in 1..", INT_MAX, ", got ", value));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeModel(const std::string& name, const ModelOptions& options) {
  if (auto status = CheckSize("features", options.features); !status.ok()) return status;
  if (auto status = CheckSize("classes", options.classes); !status.ok()) return status;
  if (name == "softmax") {
    return std::make_unique<SoftmaxRegression>(options.features, options.classes);
  }
  if (name == "mlp") {
    if (auto status = CheckSize("hidden", options.hidden); !status.ok()) return status;
    return std::make_unique<Mlp>(options.features, options.hidden, options.classes);
  }
  return absl::InvalidArgumentError(absl::StrCat("model '", name, "' is unknown; choose 'softmax' or 'mlp'"));
}

}  // namespace lockstep::trainer
