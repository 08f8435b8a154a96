#include "worker/trainer/outcome.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/safetensors/safetensors.h"
#include "worker/trainer/whole_file.h"

namespace lockstep::trainer {
namespace {

std::vector<safetensors::TensorView> Views(const Model& model, ConstTensors parameters) {
  std::vector<safetensors::TensorView> views;
  for (size_t i = 0; i < parameters.size(); ++i) {
    views.push_back({model.tensors()[i].name, model.tensors()[i].shape, parameters[i]});
  }
  return views;
}

}  // namespace

void Evaluate(Model& model, ConstTensors parameters, const Dataset& data, Outcome& outcome) {
  outcome.train_loss = model.Evaluate(parameters, data.train).loss;
  outcome.test_accuracy = model.Evaluate(parameters, data.test).accuracy;
}

absl::Status CheckFolder(const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  const std::string folder = std::filesystem::absolute(path).parent_path().string();
  if (access(folder.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("cannot write ", path, ": the folder ", folder, ": ", std::strerror(errno)));
}

std::string Fingerprint(const Model& model, ConstTensors parameters) {
  return safetensors::FingerprintOf(Views(model, parameters));
}

absl::Status SaveModel(const std::string& path, const Model& model, ConstTensors parameters, const Outcome& outcome) {
  const absl::Status status = safetensors::WriteFile(
      path, Views(model, parameters), {{"run_id", outcome.run_id}, {"version", absl::StrCat(outcome.version)}});
  if (status.ok() || absl::IsResourceExhausted(status)) return status;
  // The run's own PERMISSION_DENIED means "fenced"; a file's must not be taken for it.
  return absl::InvalidArgumentError(absl::StrCat("cannot save the model: ", status.message()));
}

absl::Status SaveOutcome(const std::string& path, const Outcome& outcome) {
  const nlohmann::ordered_json json = {{"run_id", outcome.run_id},
                                       {"version", outcome.version},
                                       {"generation", outcome.generation},
                                       {"train_loss", outcome.train_loss},
                                       {"test_accuracy", outcome.test_accuracy},
                                       {"rounds", outcome.rounds},
                                       {"workers", outcome.workers},
                                       {"shards", outcome.shards}};
  return WriteWholeFile(path, json.dump(2) + "\n");
}

}  // namespace lockstep::trainer
