// Training in one process, for tests and measurements: the workers of a run take turns, and their
// gradients are averaged in rank order, weighted by samples. Update formulas are PyTorch's.
#ifndef TESTS_WORKER_TRAINER_LOCAL_TRAINING_H_
#define TESTS_WORKER_TRAINER_LOCAL_TRAINING_H_

#include <cstdint>

#include "worker/trainer/dataset.h"
#include "worker/trainer/model.h"
#include "worker/trainer/tensor_buffer.h"

namespace lockstep::trainer {

// momentum: buf = mu * buf + g, p -= lr * buf (mu = 0: plain SGD).
// adam:     m and v with beta 0.9 and 0.999, epsilon 1e-8, both corrected for bias.
struct TrainingOptions {
  uint64_t seed = 1;
  uint32_t workers = 4;
  uint32_t batch = 64;  // Per worker.
  uint64_t rounds = 100;
  bool adam = false;
  float lr = 0.1f;
  float momentum = 0.0f;
  bool cosine = false;  // lr falls to 0 along half a cosine over `rounds`.
};

// Called after each round, with its number and the training loss of its samples.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void AfterRound(uint64_t round, double loss, ConstTensors parameters) = 0;
};

// Initializes `parameters` and trains them for options.rounds. Returns the last round's loss.
double TrainLocally(Model& model, const Split& train, const TrainingOptions& options, TensorBuffer& parameters,
                    Observer* observer = nullptr);

}  // namespace lockstep::trainer

#endif  // TESTS_WORKER_TRAINER_LOCAL_TRAINING_H_
