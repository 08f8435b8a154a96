// The training loop of one worker:
//
//   Join -> Define (get the run's current version) -> for each round: batch, gradient, PushPull -> Finish -> Leave
//
// Everything that it does in round r follows from the version r-1, r and its rank (see sampler.h), so that a
// replacement goes on exactly where the process before stopped: at the version that the run holds. One that comes after
// the last round has only Finish and Leave to do.
#ifndef WORKER_TRAINER_TRAINING_LOOP_H_
#define WORKER_TRAINER_TRAINING_LOOP_H_

#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/client/worker.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/flags.h"
#include "worker/trainer/metrics_file.h"
#include "worker/trainer/model.h"
#include "worker/trainer/sampler.h"
#include "worker/trainer/tensor_buffer.h"

namespace lockstep::trainer {

// Thread-safety: none; everything blocks. All arguments outlive it.
class TrainingLoop {
 public:
  TrainingLoop(const WorkerFlags& flags, const Dataset& data, Model& model, Worker& worker);

  // Trains until the last round, then writes what rank 0 is asked to write. Returns the first error: those of Worker's
  // calls, and of writing files. The caller then leaves the run, or ends.
  absl::Status Run();

 private:
  // What this worker brings to a round.
  struct Contribution {
    uint32_t samples = 0;
    BatchResult batch;
  };

  absl::Status Start();
  absl::Status OpenOutput();
  absl::Status TrainRound();
  absl::Status TakeRollback();
  absl::Status Finish();
  Contribution Compute(uint64_t round);
  absl::StatusOr<RoundResult> Exchange(const Contribution& contribution);
  absl::StatusOr<RoundResult> WaitOut(absl::StatusOr<RoundResult> result);
  void Report(const Contribution& contribution, double seconds) const;
  absl::Status Record(const Contribution& contribution, double seconds);
  void Dawdle();

  uint64_t LastRound() const;
  bool writes() const { return worker_.rank() == Rank(0); }

  const WorkerFlags& flags_;
  const Dataset& data_;
  Model& model_;
  Worker& worker_;
  const SamplerOptions sampler_;
  TensorBuffer parameters_;
  TensorBuffer gradients_;
  RoundResult held_;  // the version that parameters_ holds
  std::optional<MetricsFile> metrics_;
  std::mt19937_64 random_{std::random_device{}()};  // for delays only
  // Reused from round to round.
  std::vector<uint32_t> indices_;
  std::vector<float> x_;
  std::vector<int32_t> labels_;
};

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_TRAINING_LOOP_H_
