// Trains on a data set in one process as W workers would, and prints test accuracy along the way:
// how the trainer's defaults were chosen, and how to choose them for other data.
//
//   sweep DATA MODEL HIDDEN OPTIMIZER LR MOMENTUM SCHEDULE WORKERS BATCH ROUNDS SEED [EVERY]
//   sweep fashion-mnist mlp 128 sgd 0.1 0.9 cosine 4 64 2000 1
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "tests/worker/trainer/local_training.h"
#include "worker/trainer/blas.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/make_model.h"

namespace lockstep::trainer {
namespace {

double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

class Reporter final : public Observer {
 public:
  Reporter(Model& model, const Split& test, const TrainingOptions& options, uint64_t every)
      : model_(model), test_(test), options_(options), every_(every), start_(CpuSeconds()) {}

  void AfterRound(uint64_t round, double loss, ConstTensors parameters) override {
    if (round % every_ != 0 && round != options_.rounds) return;
    const double seconds = CpuSeconds() - start_;
    const Evaluation evaluation = model_.Evaluate(parameters, test_);
    std::printf("round %5lu samples %8lu loss %.4f test loss %.4f accuracy %.4f cpu %.1f s\n",
                static_cast<unsigned long>(round),
                static_cast<unsigned long>(round * options_.workers * options_.batch), loss, evaluation.loss,
                evaluation.accuracy, seconds);
  }

 private:
  Model& model_;
  const Split& test_;
  const TrainingOptions options_;
  const uint64_t every_;
  const double start_;
};

int Sweep(char** arguments, uint64_t every) {
  UseDeterministicBlas();
  const auto data = LoadDataset(arguments[1]);
  if (!data.ok()) {
    std::fprintf(stderr, "%s\n", data.status().ToString().c_str());
    return 1;
  }
  const auto model = MakeModel(arguments[2], {.features = data->train.features,
                                              .classes = static_cast<size_t>(data->classes),
                                              .hidden = std::strtoul(arguments[3], nullptr, 10)});
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
    return 1;
  }
  TrainingOptions options;
  options.adam = std::string(arguments[4]) == "adam";
  options.lr = std::strtof(arguments[5], nullptr);
  options.momentum = std::strtof(arguments[6], nullptr);
  options.cosine = std::string(arguments[7]) == "cosine";
  options.workers = static_cast<uint32_t>(std::strtoul(arguments[8], nullptr, 10));
  options.batch = static_cast<uint32_t>(std::strtoul(arguments[9], nullptr, 10));
  options.rounds = std::strtoul(arguments[10], nullptr, 10);
  options.seed = std::strtoul(arguments[11], nullptr, 10);
  TensorBuffer parameters(**model);
  Reporter reporter(**model, data->test, options, every > 0 ? every : options.rounds);
  TrainLocally(**model, data->train, options, parameters, &reporter);
  return 0;
}

}  // namespace
}  // namespace lockstep::trainer

int main(int argc, char** argv) {
  if (argc != 12 && argc != 13) {
    std::fprintf(stderr,
                 "usage: sweep DATA MODEL HIDDEN sgd|adam LR MOMENTUM constant|cosine WORKERS "
                 "BATCH ROUNDS SEED [EVERY]\n");
    return 2;
  }
  return lockstep::trainer::Sweep(argv, argc == 13 ? std::strtoul(argv[12], nullptr, 10) : 0);
}
