#include "common/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/testing/seeds.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using testing::ForEachSeed;
using ::testing::HasSubstr;
using testing::Random;
using testing::Uniform;

constexpr int64_t kMost = int64_t{1} << 40;

ModelSpec ModelOf(std::vector<std::vector<int64_t>> shapes) {
  ModelSpec model;
  for (auto& shape : shapes) {
    model.tensors.push_back({.name = absl::StrCat("t", model.tensors.size()), .shape = std::move(shape)});
  }
  return model;
}

void ExpectInvalid(const absl::Status& status, const ::testing::Matcher<std::string>& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), message);
}

// ---- Validate ----

TEST(ValidateTest, Model_WithScalarsAndOnes_IsValid) {
  EXPECT_TRUE(Validate(ModelOf({{}, {1}, {3, 4}})).ok());
  EXPECT_EQ(ModelOf({{}, {1}, {3, 4}}).elements(), 14);
}

TEST(ValidateTest, Model_WithoutTensors_IsRefused) { ExpectInvalid(Validate({}), HasSubstr("no tensors")); }

TEST(ValidateTest, Tensor_WithoutName_IsRefused) {
  ExpectInvalid(Validate({.tensors = {{.name = "", .shape = {2}}}}), HasSubstr("no name"));
}

TEST(ValidateTest, TwoTensors_OfOneName_AreNamed) {
  ExpectInvalid(Validate({.tensors = {{.name = "w", .shape = {2}}, {.name = "w", .shape = {3}}}}), HasSubstr("'w'"));
}

TEST(ValidateTest, Dimension_NotPositive_NamesTheTensor) {
  ExpectInvalid(Validate(ModelOf({{1}, {3, 0}})), HasSubstr("t1 float32[3, 0]"));
  ExpectInvalid(Validate(ModelOf({{-1}})), HasSubstr("t0 float32[-1]"));
  ExpectInvalid(Validate(ModelOf({{-1, -1}})), HasSubstr("t0 float32[-1, -1]"));
}

TEST(ValidateTest, Elements_UpToTheLimit_AreTaken) {
  EXPECT_TRUE(Validate(ModelOf({{kMost}})).ok());
  EXPECT_TRUE(Validate(ModelOf({{kMost / 2, 2}})).ok());
  ExpectInvalid(Validate(ModelOf({{kMost + 1}})), HasSubstr(absl::StrCat(kMost)));
  ExpectInvalid(Validate(ModelOf({{kMost}, {1}})), HasSubstr(absl::StrCat(kMost)));
}

TEST(ValidateTest, Elements_PastAnyInteger_AreRefusedWithoutOverflow) {
  ExpectInvalid(Validate(ModelOf({{int64_t{1} << 33, int64_t{1} << 33}})), HasSubstr("t0"));
  ExpectInvalid(Validate(ModelOf({{INT64_MAX, INT64_MAX, INT64_MAX}})), HasSubstr("t0"));
  ExpectInvalid(Validate(ModelOf({{1, INT64_MIN}})), HasSubstr("t0"));
}

// ---- CheckSameModel ----

TEST(CheckSameModelTest, Models_Equal_AreOk) {
  const ModelSpec model = ModelOf({{2, 3}, {}});
  EXPECT_TRUE(CheckSameModel(model, model).ok());
}

TEST(CheckSameModelTest, Tensors_Differ_NamesTheFirst) {
  ExpectInvalid(CheckSameModel(ModelOf({{1}, {2, 3}, {4}}), ModelOf({{1}, {3, 2}, {5}})),
                AllOf(HasSubstr("tensor 1 should be t1 float32[2, 3], but is t1 float32[3, 2]"),
                      ::testing::Not(HasSubstr("tensor 2"))));
}

TEST(CheckSameModelTest, Name_Differs_ShowsBoth) {
  ExpectInvalid(CheckSameModel({.tensors = {{.name = "a", .shape = {1}}}}, {.tensors = {{.name = "b", .shape = {1}}}}),
                AllOf(HasSubstr("a float32[1]"), HasSubstr("b float32[1]")));
}

TEST(CheckSameModelTest, Tensor_Missing_IsNamed) {
  ExpectInvalid(CheckSameModel(ModelOf({{1}, {2}}), ModelOf({{1}})),
                AllOf(HasSubstr("should have 2 tensors, but has 1"), HasSubstr("t1 float32[2], is missing")));
}

TEST(CheckSameModelTest, Tensor_TooMany_IsNamed) {
  ExpectInvalid(
      CheckSameModel(ModelOf({{1}}), ModelOf({{1}, {2}})),
      AllOf(HasSubstr("should have 1 tensors, but has 2"), HasSubstr("t1 float32[2], is not in the run's model")));
}

// ---- BlockLayout ----

ModelSpec RandomModel(Random& random) {
  std::vector<std::vector<int64_t>> shapes(Uniform(random, 1, 12));
  for (auto& shape : shapes) {
    shape.resize(Uniform(random, 0, 3));
    for (int64_t& dimension : shape) dimension = static_cast<int64_t>(Uniform(random, 1, 20));
  }
  return ModelOf(std::move(shapes));
}

bool Same(const Block& a, const Block& b) {
  return a.tensor == b.tensor && a.offset == b.offset && a.elements == b.elements && a.shard == b.shard &&
         a.slot == b.slot;
}

TEST(BlockLayoutTest, Blocks_OfAnyModel_HoldEveryElementOnceInOrder) {
  ForEachSeed(200, [](Random& random) {
    const ModelSpec model = RandomModel(random);
    const auto block_elements = static_cast<int64_t>(Uniform(random, 1, 300));
    const auto layout = BlockLayout::Create(model, static_cast<uint32_t>(Uniform(random, 1, 9)), block_elements);
    ASSERT_TRUE(layout.ok()) << layout.status();
    auto at = layout->blocks().begin();
    for (uint32_t t = 0; t < model.tensors.size(); ++t) {
      int64_t next = 0;
      for (; at != layout->blocks().end() && at->tensor == t; ++at) {
        ASSERT_EQ(at->offset, next) << "tensor " << t << " has a gap or an overlap";
        ASSERT_GE(at->elements, 1);
        ASSERT_LE(at->elements, block_elements);
        ASSERT_EQ(at->bytes(), static_cast<size_t>(at->elements) * 4);
        next += at->elements;
      }
      ASSERT_EQ(next, model.tensors[t].elements()) << "a block spans tensors, or some are missing";
    }
    ASSERT_TRUE(at == layout->blocks().end());
  });
}

TEST(BlockLayoutTest, Slots_OfEveryShard_AreDenseAndAscending) {
  ForEachSeed(200, [](Random& random) {
    const auto shards = static_cast<uint32_t>(Uniform(random, 1, 9));
    const auto layout = BlockLayout::Create(RandomModel(random), shards, static_cast<int64_t>(Uniform(random, 1, 99)));
    ASSERT_TRUE(layout.ok()) << layout.status();
    ASSERT_EQ(layout->shards(), shards);
    size_t blocks = 0;
    for (uint32_t s = 0; s < shards; ++s) {
      const std::vector<BlockIndex>& mine = layout->of_shard(ShardIndex(s));
      ASSERT_TRUE(std::is_sorted(mine.begin(), mine.end()));
      for (uint32_t slot = 0; slot < mine.size(); ++slot) {
        ASSERT_EQ(layout->block(mine[slot]).shard, ShardIndex(s));
        ASSERT_EQ(layout->block(mine[slot]).slot, Slot(slot));
      }
      blocks += mine.size();
    }
    ASSERT_EQ(blocks, layout->blocks().size()) << "a block is on no shard, or on two";
  });
}

TEST(BlockLayoutTest, Shards_OfAnyModel_AreBalancedWithinOneBlock) {
  ForEachSeed(200, [](Random& random) {
    const ModelSpec model = RandomModel(random);
    const auto shards = static_cast<uint32_t>(Uniform(random, 1, 9));
    const auto block_elements = static_cast<int64_t>(Uniform(random, 1, 300));
    const auto layout = BlockLayout::Create(model, shards, block_elements);
    ASSERT_TRUE(layout.ok()) << layout.status();
    std::vector<int64_t> loads;
    for (uint32_t s = 0; s < shards; ++s) loads.push_back(layout->elements_of_shard(ShardIndex(s)));
    const auto [least, most] = std::minmax_element(loads.begin(), loads.end());
    ASSERT_LE(*most - *least, block_elements);
    int64_t sum = 0;
    for (int64_t load : loads) sum += load;
    ASSERT_EQ(sum, model.elements());
  });
}

TEST(BlockLayoutTest, Create_Twice_GivesTheSame) {
  ForEachSeed(50, [](Random& random) {
    const ModelSpec model = RandomModel(random);
    const auto shards = static_cast<uint32_t>(Uniform(random, 1, 9));
    const auto block_elements = static_cast<int64_t>(Uniform(random, 1, 300));
    const auto one = BlockLayout::Create(model, shards, block_elements);
    const auto other = BlockLayout::Create(model, shards, block_elements);
    ASSERT_TRUE(one.ok() && other.ok());
    ASSERT_TRUE(
        std::equal(one->blocks().begin(), one->blocks().end(), other->blocks().begin(), other->blocks().end(), Same));
  });
}

TEST(BlockLayoutTest, Shards_MoreThanBlocks_LeavesSomeEmpty) {
  const auto layout = BlockLayout::Create(ModelOf({{3}}), 4, 100);
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(layout->of_shard(ShardIndex(0)).size(), 1u);
  EXPECT_TRUE(layout->of_shard(ShardIndex(3)).empty());
  EXPECT_EQ(layout->elements_of_shard(ShardIndex(3)), 0);
}

TEST(BlockLayoutTest, Blocks_TooMany_AreRefusedAtOnce) {
  ExpectInvalid(BlockLayout::Create(ModelOf({{kMost}}), 2, 1).status(),
                AllOf(HasSubstr("blocks of 1 elements"), HasSubstr(absl::StrCat(int64_t{1} << 31))));
}

TEST(BlockLayoutTest, BlocksOrShards_None_AreRefused) {
  for (int64_t block_elements : {int64_t{0}, int64_t{-1}, INT64_MIN}) {
    ExpectInvalid(BlockLayout::Create(ModelOf({{5}}), 2, block_elements).status(),
                  HasSubstr(absl::StrCat("blocks of ", block_elements, " elements")));
  }
  ExpectInvalid(BlockLayout::Create(ModelOf({{5}}), 0, 1).status(), HasSubstr("0 shards"));
}

TEST(BlockLayoutTest, BlockElements_LargerThanAnyTensor_MakeOneBlockEach) {
  const auto layout = BlockLayout::Create(ModelOf({{5}, {}, {7, 3}}), 2, INT64_MAX);
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(layout->blocks().size(), 3u);
}

// ---- DefaultBlockElements ----

TEST(DefaultBlockElementsTest, Models_SmallAndLarge_StayWithinTheLimits) {
  EXPECT_EQ(DefaultBlockElements(1, 1), 16 * 1024);
  EXPECT_EQ(DefaultBlockElements(kMost, 1), 128 * 1024);
  EXPECT_EQ(DefaultBlockElements(kMost, 1024), 128 * 1024);
}

TEST(DefaultBlockElementsTest, Models_OfAnySize_FitAMessage) {
  ForEachSeed(100, [](Random& random) {
    const auto elements = static_cast<int64_t>(Uniform(random, 1, uint64_t{1} << Uniform(random, 0, 40)));
    const auto shards = static_cast<uint32_t>(Uniform(random, 1, 1024));
    const int64_t block = DefaultBlockElements(elements, shards);
    ASSERT_GE(block, 16 * 1024);
    ASSERT_LE(block * 4, 64 << 20);
  });
}

TEST(DefaultBlockElementsTest, Models_InBetween_GiveAShardSeveralBlocks) {
  const int64_t elements = 25'000'000;
  EXPECT_GE(elements / 4 / DefaultBlockElements(elements, 4), 8);
}

}  // namespace
}  // namespace lockstep
