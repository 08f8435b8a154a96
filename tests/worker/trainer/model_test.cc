#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/worker/trainer/local_training.h"
#include "worker/trainer/blas.h"
#include "worker/trainer/make_model.h"
#include "worker/trainer/permutation.h"

namespace lockstep::trainer {
namespace {

constexpr size_t kFeatures = 7;
constexpr size_t kClasses = 4;

std::unique_ptr<Model> Make(const std::string& name) {
  return *MakeModel(name, {.features = kFeatures, .classes = kClasses, .hidden = 5});
}

// Random features and labels: nothing to learn but the samples themselves.
Split RandomSplit(size_t samples, uint64_t seed) {
  Split split;
  split.samples = samples;
  split.features = kFeatures;
  for (size_t i = 0; i < samples * kFeatures; ++i) {
    split.x.push_back(static_cast<float>(Mix64(seed + i) % 1000) / 1000.0f);
  }
  for (size_t i = 0; i < samples; ++i) {
    split.labels.push_back(static_cast<int32_t>(Mix64(~seed + i) % kClasses));
  }
  return split;
}

class ModelTest : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() { UseDeterministicBlas(); }
};

INSTANTIATE_TEST_SUITE_P(Models, ModelTest, testing::Values("softmax", "mlp"),
                         [](const auto& info) { return info.param; });

TEST_P(ModelTest, Gradient_EqualsFiniteDifferences) {
  const auto model = Make(GetParam());
  const Split split = RandomSplit(9, 11);
  TensorBuffer parameters(*model), gradient(*model), unused(*model);
  model->Initialize(3, parameters.write());
  model->LossAndGradient(parameters.read(), split.x, split.labels, gradient.write());
  const auto loss_at = [&](size_t element, float value) {
    parameters.values()[element] = value;
    return model->LossAndGradient(parameters.read(), split.x, split.labels, unused.write()).loss;
  };
  for (size_t i = 0; i < parameters.values().size(); ++i) {
    const float center = parameters.values()[i];
    constexpr float kStep = 0x1p-8f;
    const double slope = (loss_at(i, center + kStep) - loss_at(i, center - kStep)) / (2 * kStep);
    parameters.values()[i] = center;
    EXPECT_NEAR(gradient.values()[i], slope, 5e-4) << "element " << i;
  }
}

TEST_P(ModelTest, SmallSet_IsLearntByHeart) {
  const auto model = Make(GetParam());
  // Fewer samples than features + 1: even the linear model can separate them.
  const Split split = RandomSplit(kFeatures, 5);
  TensorBuffer parameters(*model);
  TrainLocally(*model, split, {.seed = 1, .workers = 2, .batch = 4, .rounds = 4000, .lr = 0.3f, .momentum = 0.9f},
               parameters);
  const Evaluation evaluation = model->Evaluate(parameters.read(), split);
  EXPECT_EQ(evaluation.accuracy, 1.0);
  EXPECT_LT(evaluation.loss, 0.05);
}

TEST_P(ModelTest, TwoModels_SameBits) {
  const Split split = RandomSplit(333, 8);
  const auto train = [&] {
    const auto model = Make(GetParam());
    TensorBuffer parameters(*model);
    TrainLocally(*model, split, {.workers = 3, .batch = 10, .rounds = 50}, parameters);
    return std::vector<float>(parameters.values().begin(), parameters.values().end());
  };
  EXPECT_EQ(train(), train());
}

TEST_P(ModelTest, EmptyBatch_GivesZeroGradient) {
  const auto model = Make(GetParam());
  TensorBuffer parameters(*model), gradient(*model);
  model->Initialize(3, parameters.write());
  std::ranges::fill(gradient.values(), 7.0f);
  const BatchResult result = model->LossAndGradient(parameters.read(), {}, {}, gradient.write());
  EXPECT_EQ(result.loss, 0);
  EXPECT_EQ(result.correct, 0);
  EXPECT_EQ(gradient.values(), std::vector<float>(gradient.values().size(), 0.0f));
}

TEST_P(ModelTest, Initialize_IsDeterministicAndWithinBounds) {
  const auto model = Make(GetParam());
  TensorBuffer first(*model), second(*model), other(*model);
  model->Initialize(9, first.write());
  model->Initialize(9, second.write());
  model->Initialize(10, other.write());
  EXPECT_EQ(first.values(), second.values());
  EXPECT_NE(first.values(), other.values());
  for (float value : first.read()[0]) EXPECT_LE(std::abs(value), 1 / std::sqrt(7.0f));
}

TEST_P(ModelTest, Evaluate_EqualsOneLargeBatch) {
  const auto model = Make(GetParam());
  const Split split = RandomSplit(1300, 2);  // More than two evaluation batches.
  TensorBuffer parameters(*model), gradient(*model);
  model->Initialize(3, parameters.write());
  const BatchResult batch = model->LossAndGradient(parameters.read(), split.x, split.labels, gradient.write());
  const Evaluation evaluation = model->Evaluate(parameters.read(), split);
  EXPECT_NEAR(evaluation.loss, batch.loss, 1e-6);
  EXPECT_EQ(evaluation.accuracy, static_cast<double>(batch.correct) / 1300);
}

TEST_P(ModelTest, NotANumber_ShowsInTheLoss) {
  const auto model = Make(GetParam());
  const Split split = RandomSplit(4, 2);
  TensorBuffer parameters(*model), gradient(*model);
  model->Initialize(3, parameters.write());
  parameters.values()[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(model->LossAndGradient(parameters.read(), split.x, split.labels, gradient.write()).loss));
}

TEST(Model, Tensors_HaveTheirNamesAndShapes) {
  const auto softmax = Make("softmax");
  ASSERT_EQ(softmax->tensors().size(), 2u);
  EXPECT_EQ(softmax->tensors()[0].name, "linear.weight");
  EXPECT_EQ(softmax->tensors()[0].shape, (std::vector<int64_t>{4, 7}));
  EXPECT_EQ(softmax->tensors()[1].name, "linear.bias");
  const auto mlp = Make("mlp");
  ASSERT_EQ(mlp->tensors().size(), 4u);
  EXPECT_EQ(mlp->tensors()[0].name, "hidden.weight");
  EXPECT_EQ(mlp->tensors()[0].shape, (std::vector<int64_t>{5, 7}));
  EXPECT_EQ(mlp->tensors()[1].name, "hidden.bias");
  EXPECT_EQ(mlp->tensors()[2].name, "output.weight");
  EXPECT_EQ(mlp->tensors()[2].shape, (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(mlp->tensors()[3].name, "output.bias");
}

TEST(Model, UnknownNameOrSizeOfZero_IsRefused) {
  EXPECT_EQ(MakeModel("cnn", {.features = 1, .classes = 2}).status().message(),
            "model 'cnn' is unknown; choose 'softmax' or 'mlp'");
  EXPECT_FALSE(MakeModel("mlp", {.features = 1, .classes = 2, .hidden = 0}).ok());
  EXPECT_FALSE(MakeModel("softmax", {.features = 0, .classes = 2}).ok());
}

// -log softmax of logits (0, log 3) is log 4 and log 4 - log 3; by hand.
TEST(Loss, KnownLogits_KnownLossAndGradient) {
  std::vector<float> logits = {0, std::log(3.0f), 0, std::log(3.0f)};
  const std::vector<int32_t> labels = {0, 1};
  const BatchResult result = SoftmaxCrossEntropy(2, labels, absl::MakeSpan(logits));
  EXPECT_NEAR(result.loss, (std::log(4.0) + std::log(4.0 / 3.0)) / 2, 1e-6);
  EXPECT_EQ(result.correct, 1);
  const std::vector<float> expected = {-0.375f, 0.375f, 0.125f, -0.125f};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(logits[i], expected[i], 1e-6);
}

TEST(Loss, HugeLogits_StayFinite) {
  std::vector<float> logits = {1e38f, -1e38f};
  EXPECT_EQ(SoftmaxCrossEntropy(2, {0}, absl::MakeSpan(logits)).loss, 0);
  EXPECT_EQ(logits, (std::vector<float>{0, 0}));
}

}  // namespace
}  // namespace lockstep::trainer
