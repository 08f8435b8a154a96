// Whole trainings in one process, on real data.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "tests/worker/trainer/local_training.h"
#include "worker/trainer/blas.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/make_model.h"

namespace lockstep::trainer {
namespace {

double AccuracyOnDigits(const std::string& name) {
  UseDeterministicBlas();
  const auto data = LoadDataset("digits");
  EXPECT_TRUE(data.ok()) << data.status();
  if (!data.ok()) return 0;
  const auto model = MakeModel(name, {.features = 64, .classes = 10, .hidden = 64});
  TensorBuffer parameters(**model);
  TrainLocally(**model, data->train, {.workers = 4, .batch = 16, .rounds = 600, .lr = 0.1f, .momentum = 0.9f},
               parameters);
  const double accuracy = (*model)->Evaluate(parameters.read(), data->test).accuracy;
  std::printf("%s: test accuracy %.4f\n", name.c_str(), accuracy);
  return accuracy;
}

TEST(Training, SoftmaxOnDigits_ReachesNinetyPercent) { EXPECT_GE(AccuracyOnDigits("softmax"), 0.90); }

TEST(Training, MlpOnDigits_ReachesNinetyThreePercent) { EXPECT_GE(AccuracyOnDigits("mlp"), 0.93); }

}  // namespace
}  // namespace lockstep::trainer
