#include "tests/worker/trainer/local_training.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "worker/trainer/sampler.h"

namespace lockstep::trainer {
namespace {

class Optimizer {
 public:
  Optimizer(const TrainingOptions& options, size_t size)
      : options_(options), first_(size), second_(options.adam ? size : 0) {}

  void Step(uint64_t round, const std::vector<float>& gradient, absl::Span<float> parameters) {
    const float lr = LearningRate(round);
    options_.adam ? StepAdam(round, lr, gradient, parameters) : StepMomentum(lr, gradient, parameters);
  }

 private:
  float LearningRate(uint64_t round) const {
    if (!options_.cosine) return options_.lr;
    const double progress = static_cast<double>(round - 1) / static_cast<double>(options_.rounds);
    return static_cast<float>(options_.lr * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
  }

  void StepMomentum(float lr, const std::vector<float>& gradient, absl::Span<float> parameters) {
    for (size_t i = 0; i < gradient.size(); ++i) {
      first_[i] = options_.momentum * first_[i] + gradient[i];
      parameters[i] -= lr * first_[i];
    }
  }

  void StepAdam(uint64_t round, float lr, const std::vector<float>& gradient, absl::Span<float> parameters) {
    const double steps = static_cast<double>(round);
    const float step = static_cast<float>(lr / (1 - std::pow(0.9, steps)));
    const float correction = static_cast<float>(std::sqrt(1 - std::pow(0.999, steps)));
    for (size_t i = 0; i < gradient.size(); ++i) {
      first_[i] = 0.9f * first_[i] + 0.1f * gradient[i];
      second_[i] = 0.999f * second_[i] + 0.001f * gradient[i] * gradient[i];
      parameters[i] -= step * first_[i] / (std::sqrt(second_[i]) / correction + 1e-8f);
    }
  }

  const TrainingOptions options_;
  std::vector<float> first_;
  std::vector<float> second_;
};

// One round's weighted mean gradient over all ranks, into `mean`. Returns the mean loss.
class GradientOfRound {
 public:
  GradientOfRound(Model& model, const Split& train, const TrainingOptions& options)
      : model_(model), train_(train), gradient_(model) {
    sampler_ = {.seed = options.seed,
                .workers = options.workers,
                .batch = options.batch,
                .samples = static_cast<uint32_t>(train.samples)};
  }

  double Compute(uint64_t round, ConstTensors parameters, std::vector<float>& mean) {
    mean.assign(gradient_.values().size(), 0.0f);
    double loss = 0;
    size_t samples = 0;
    for (uint32_t rank = 0; rank < sampler_.workers; ++rank) {
      SampleIndices(sampler_, round, rank, indices_);
      Gather(train_, indices_, x_, labels_);
      const auto weight = static_cast<float>(indices_.size());
      loss += weight * model_.LossAndGradient(parameters, x_, labels_, gradient_.write()).loss;
      for (size_t i = 0; i < mean.size(); ++i) mean[i] += weight * gradient_.values()[i];
      samples += indices_.size();
    }
    for (float& value : mean) value /= static_cast<float>(samples);
    return loss / static_cast<double>(samples);
  }

 private:
  Model& model_;
  const Split& train_;
  SamplerOptions sampler_;
  TensorBuffer gradient_;
  std::vector<uint32_t> indices_;
  std::vector<float> x_;
  std::vector<int32_t> labels_;
};

}  // namespace

double TrainLocally(Model& model, const Split& train, const TrainingOptions& options, TensorBuffer& parameters,
                    Observer* observer) {
  model.Initialize(options.seed, parameters.write());
  GradientOfRound gradient(model, train, options);
  Optimizer optimizer(options, parameters.values().size());
  std::vector<float> mean;
  double loss = 0;
  for (uint64_t round = 1; round <= options.rounds; ++round) {
    loss = gradient.Compute(round, parameters.read(), mean);
    optimizer.Step(round, mean, parameters.values());
    if (observer != nullptr) observer->AfterRound(round, loss, parameters.read());
  }
  return loss;
}

}  // namespace lockstep::trainer
