#include "server/compute/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/server/compute/bits.h"
#include "tests/server/compute/golden.h"
#include "tests/server/compute/optimizer_oracle.h"
#include "tests/server/compute/seeds.h"
#include "tests/server/compute/simd_targets.h"

namespace lockstep::compute {
namespace {

constexpr OptimizerKind kAll[] = {
    OptimizerKind::kAggregate, OptimizerKind::kSgd,   OptimizerKind::kMomentum, OptimizerKind::kNesterov,
    OptimizerKind::kAdam,      OptimizerKind::kAdamW, OptimizerKind::kAdagrad,
};

// A block that is stepped as a shard does it.
class Block {
 public:
  Block(const OptimizerOptions& options, std::vector<float> initial) : options_(options), params(std::move(initial)) {
    state.assign(StateSlots(options.kind), std::vector<float>(params.size()));
  }

  // Returns the parameters of the next version, which is not committed yet. Leaves the effective
  // gradient in `gradient`.
  std::vector<float> Tentative(double lr, std::vector<float>& gradient) const {
    std::vector<float> next(params.size(), std::nanf(""));
    std::vector<const float*> slots;
    for (const std::vector<float>& slot : state) {
      slots.push_back(slot.data());
    }
    Publish(MakeStep(options_, lr, version_ + 1), params, slots, absl::MakeSpan(gradient), absl::MakeSpan(next));
    return next;
  }

  void Commit(double lr, std::vector<float> gradient) {
    params = Tentative(lr, gradient);
    std::vector<float*> slots;
    for (std::vector<float>& slot : state) {
      slots.push_back(slot.data());
    }
    Fold(MakeStep(options_, lr, ++version_), gradient, slots);
  }

 private:
  OptimizerOptions options_;
  uint64_t version_ = 0;

 public:
  std::vector<float> params;
  std::vector<std::vector<float>> state;
};

std::vector<float> RandomValues(Random& random, size_t size) {
  std::vector<float> values(size);
  std::generate(values.begin(), values.end(), [&random] { return RandomFloat(random); });
  return values;
}

OptimizerOptions WithDecay(OptimizerKind kind, double weight_decay) {
  OptimizerOptions options = DefaultOptions(kind);
  options.weight_decay = kind == OptimizerKind::kAggregate ? 0 : weight_decay;
  return options;
}

void ExpectEqualsOracle(const OptimizerOptions& options, Random& random) {
  SCOPED_TRACE(std::string(OptimizerKindName(options.kind)));
  const std::vector<float> initial = RandomValues(random, Uniform(random, 0, 200));
  OptimizerOracle oracle(options, initial);
  Block block(options, initial);
  for (int step = 1; step <= 12; ++step) {
    const std::vector<float> gradient = RandomValues(random, initial.size());
    const double lr = options.lr / step;
    oracle.Step(lr, gradient);
    block.Commit(lr, gradient);
    ASSERT_TRUE(SameBits(block.params, oracle.params)) << "step " << step;
    if (block.state.size() > 0) {
      ASSERT_TRUE(SameBits(block.state[0], oracle.first)) << "step " << step;
    }
    if (block.state.size() > 1) {
      ASSERT_TRUE(SameBits(block.state[1], oracle.second)) << "step " << step;
    }
  }
}

TEST(PublishThenFold, EveryKindAndInstructionSet_EqualsInPlaceOracleBitForBit) {
  ForEachSeed(10, [](Random& random) {
    for (const OptimizerKind kind : kAll) {
      for (const double weight_decay : {0.0, 0.03}) {
        ForEachSimdTarget([&] { ExpectEqualsOracle(WithDecay(kind, weight_decay), random); });
      }
    }
  });
}

TEST(Publish, UndoneAndRepeated_GivesTheSameBitsAndLeavesNoTrace) {
  Random random(3);
  for (const OptimizerKind kind : kAll) {
    SCOPED_TRACE(std::string(OptimizerKindName(kind)));
    Block block(WithDecay(kind, 0.01), RandomValues(random, 75));
    block.Commit(0.1, RandomValues(random, 75));
    const Block before = block;
    const std::vector<float> gradient = RandomValues(random, 75);
    std::vector<float> once = gradient;
    std::vector<float> again = gradient;
    const std::vector<float> undone = block.Tentative(0.1, once);
    EXPECT_TRUE(SameBits(block.Tentative(0.1, again), undone));
    EXPECT_TRUE(SameBits(block.params, before.params));
    EXPECT_EQ(block.state, before.state);
  }
}

TEST(Publish, IntoTheParametersThemselves_SameBits) {
  Random random(4);
  const std::vector<float> initial = RandomValues(random, 33);
  std::vector<float> gradient = RandomValues(random, 33);
  const Block block({.weight_decay = 0.1}, initial);
  std::vector<float> copy = gradient;
  const std::vector<float> want = block.Tentative(0.1, copy);
  std::vector<float> in_place = initial;
  Publish(MakeStep({.weight_decay = 0.1}, 0.1, 1), in_place, {}, absl::MakeSpan(gradient), absl::MakeSpan(in_place));
  EXPECT_TRUE(SameBits(in_place, want));
}

TEST(Publish, WithoutWeightDecay_LeavesTheGradientAlone) {
  Random random(5);
  const std::vector<float> gradient = RandomValues(random, 33);
  for (const OptimizerKind kind : kAll) {
    std::vector<float> effective = gradient;
    Block(WithDecay(kind, 0), RandomValues(random, 33)).Tentative(0.1, effective);
    EXPECT_TRUE(SameBits(effective, gradient));
  }
}

TEST(Publish, Aggregate_IsTheMeanGradientItself) {
  std::vector<float> gradient = {1, -2, 3};
  std::vector<float> published(3);
  Publish(MakeStep({.kind = OptimizerKind::kAggregate}, 0.1, 1), {}, {}, absl::MakeSpan(gradient),
          absl::MakeSpan(published));
  EXPECT_EQ(published, gradient);
}

TEST(PublishDeathTest, MissingStateSlot_Aborts) {
  const OptimizerStep step = MakeStep({.kind = OptimizerKind::kAdam}, 0.1, 1);
  EXPECT_DEATH(Publish(step, {}, {}, {}, {}), "state slots");
}

TEST(MakeStepDeathTest, VersionZero_Aborts) { EXPECT_DEATH(MakeStep({}, 0.1, 0), "first version"); }

OptimizerOptions OptionsFrom(const nlohmann::json& json) {
  OptimizerOptions options;
  options.kind = ParseOptimizerKind(json.at("kind").get<std::string>()).value();
  options.lr = json.at("lr");
  options.momentum = json.value("momentum", options.momentum);
  options.beta1 = json.value("beta1", options.beta1);
  options.beta2 = json.value("beta2", options.beta2);
  options.epsilon = json.value("epsilon", options.epsilon);
  options.weight_decay = json.at("weight_decay");
  return options;
}

void ExpectClose(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 1e-6 * std::max(0.1f, std::abs(want[i]))) << "element " << i;
  }
}

TEST(PublishThenFold, EveryGoldenOptimizer_EqualsPyTorch) {
  const nlohmann::json golden = LoadGolden();
  ASSERT_EQ(golden.at("optimizers").size(), 12u);
  for (const nlohmann::json& run : golden.at("optimizers")) {
    SCOPED_TRACE(run.at("options").dump());
    const OptimizerOptions options = OptionsFrom(run.at("options"));
    ASSERT_TRUE(Validate(options).ok());
    Block block(options, run.at("initial").get<std::vector<float>>());
    ASSERT_GE(run.at("gradients").size(), 10u);
    for (size_t step = 0; step < run.at("gradients").size(); ++step) {
      SCOPED_TRACE(step);
      block.Commit(options.lr, run.at("gradients")[step].get<std::vector<float>>());
      ExpectClose(block.params, run.at("params")[step].get<std::vector<float>>());
    }
  }
}

}  // namespace
}  // namespace lockstep::compute
