// What is left of a training run: the model's file and the numbers that describe it.
#ifndef WORKER_TRAINER_OUTCOME_H_
#define WORKER_TRAINER_OUTCOME_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/model.h"

namespace lockstep::trainer {

// All of it follows from the final parameters and the run, so that a replacement of rank 0 finds the same.
struct Outcome {
  std::string run_id;
  uint64_t version = 0;
  uint64_t generation = 0;
  double train_loss = 0;     // mean over the whole training split
  double test_accuracy = 0;  // over the test split, 0..1
  uint64_t rounds = 0;
  uint32_t workers = 0;
  uint32_t shards = 0;
};

// Fills in train_loss and test_accuracy.
void Evaluate(Model& model, ConstTensors parameters, const Dataset& data, Outcome& outcome);

// INVALID_ARGUMENT unless files can be made in the folder of `path`: better told before the training than after it. An
// empty path is fine.
absl::Status CheckFolder(const std::string& path);

// What `lockstepctl fingerprint` says of a model with these bits: equal bits, equal fingerprints.
std::string Fingerprint(const Model& model, ConstTensors parameters);

// Writes the parameters as .safetensors, with run id and version as metadata. RESOURCE_EXHAUSTED: the disk is full.
// INVALID_ARGUMENT: the file cannot be written.
absl::Status SaveModel(const std::string& path, const Model& model, ConstTensors parameters, const Outcome& outcome);

// Writes `outcome` as a JSON object. INVALID_ARGUMENT: the file cannot be written.
absl::Status SaveOutcome(const std::string& path, const Outcome& outcome);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_OUTCOME_H_
