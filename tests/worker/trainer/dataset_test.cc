#include "worker/trainer/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "tests/worker/trainer/test_files.h"

namespace lockstep::trainer {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string ErrorOf(const std::string& name_or_path) { return LoadDataset(name_or_path).status().ToString(); }

void ExpectConsistent(const Split& split, int classes) {
  EXPECT_EQ(split.x.size(), split.samples * split.features);
  ASSERT_EQ(split.labels.size(), split.samples);
  const auto [low, high] = std::minmax_element(split.x.begin(), split.x.end());
  EXPECT_GE(*low, 0.0f);
  EXPECT_LE(*high, 1.0f);
  for (int32_t label : split.labels) EXPECT_TRUE(label >= 0 && label < classes) << label;
}

TEST(Dataset, FashionMnist_HasItsSixtyThousandImages) {
  const auto data = LoadDataset("fashion-mnist");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.samples, 60000u);
  EXPECT_EQ(data->test.samples, 10000u);
  EXPECT_EQ(data->train.features, 784u);
  EXPECT_EQ(data->test.features, 784u);
  EXPECT_EQ(data->classes, 10);
  EXPECT_EQ(data->name, "fashion-mnist");
  ExpectConsistent(data->train, 10);
  ExpectConsistent(data->test, 10);
  for (int32_t label = 0; label < 10; ++label) {
    EXPECT_EQ(std::count(data->train.labels.begin(), data->train.labels.end(), label), 6000);
    EXPECT_EQ(std::count(data->test.labels.begin(), data->test.labels.end(), label), 1000);
  }
}

TEST(Dataset, Digits_AreCutEightyToTwenty) {
  const auto data = LoadDataset("digits");
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.samples, 1438u);
  EXPECT_EQ(data->test.samples, 359u);
  EXPECT_EQ(data->train.features, 64u);
  EXPECT_EQ(data->classes, 10);
  ExpectConsistent(data->train, 10);
  ExpectConsistent(data->test, 10);
  EXPECT_EQ(data->test.x, LoadDataset("digits")->test.x);
}

TEST(Dataset, SplitForTest_TakesEverySampleOnce) {
  for (size_t samples = 2; samples < 60; ++samples) {
    Split all{.samples = samples, .features = 1, .x = {}, .labels = {}};
    for (size_t i = 0; i < samples; ++i) {
      all.x.push_back(static_cast<float>(i));
      all.labels.push_back(static_cast<int32_t>(i));
    }
    const auto data = SplitForTest(all, "all");
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->test.samples, std::max<size_t>(1, samples / 5));
    std::set<int32_t> seen(data->train.labels.begin(), data->train.labels.end());
    seen.insert(data->test.labels.begin(), data->test.labels.end());
    EXPECT_EQ(seen.size(), samples);
    EXPECT_EQ(data->classes, static_cast<int>(samples));
    EXPECT_EQ(data->train.x[0], static_cast<float>(data->train.labels[0]));
  }
}

TEST(Dataset, DirectoryPairAndCsv_AreLoadedByPath) {
  const std::string directory = MakeTestDirectory("by_path");
  WriteFile(directory + "/train-images-idx3-ubyte.gz", Gzip(SmallImages(20)));
  WriteFile(directory + "/train-labels-idx1-ubyte", SmallLabels(20));
  WriteFile(directory + "/t10k-images.idx3-ubyte", SmallImages(5));
  WriteFile(directory + "/t10k-labels-idx1-ubyte.gz", Gzip(SmallLabels(5)));
  const auto quadruple = LoadDataset(directory);
  ASSERT_TRUE(quadruple.ok()) << quadruple.status();
  EXPECT_EQ(quadruple->train.samples, 20u);
  EXPECT_EQ(quadruple->test.samples, 5u);
  EXPECT_EQ(quadruple->classes, 3);

  const auto pair = LoadDataset(directory + "/train-images-idx3-ubyte.gz," + directory + "/train-labels-idx1-ubyte");
  ASSERT_TRUE(pair.ok()) << pair.status();
  EXPECT_EQ(pair->train.samples, 16u);
  EXPECT_EQ(pair->test.samples, 4u);
  EXPECT_EQ(pair->train.features, 6u);

  WriteFile(directory + "/own.csv", "1,2,0\n3,4,1\n");
  const auto csv = LoadDataset(directory + "/own.csv");
  ASSERT_TRUE(csv.ok()) << csv.status();
  EXPECT_EQ(csv->train.samples + csv->test.samples, 2u);
}

TEST(Dataset, TestLabelUnknownToTraining_IsRefused) {
  const std::string directory = MakeTestDirectory("unknown_label");
  WriteFile(directory + "/train-images-idx3-ubyte", SmallImages(3));
  WriteFile(directory + "/train-labels-idx1-ubyte", SmallLabels(3));
  WriteFile(directory + "/t10k-images-idx3-ubyte", SmallImages(1));
  WriteFile(directory + "/t10k-labels-idx1-ubyte", IdxBytes({1}, "\x03"));
  EXPECT_THAT(ErrorOf(directory), HasSubstr("offset 8: label 3 of sample 0 is not in 0..2"));
}

TEST(Dataset, WhatIsMissing_IsNamed) {
  EXPECT_THAT(ErrorOf("mnist"), AllOf(HasSubstr("data set 'mnist'"), HasSubstr("fashion-mnist")));
  EXPECT_THAT(ErrorOf("/no/such.csv"), HasSubstr("/no/such.csv"));
  EXPECT_EQ(LoadDataset("/no/such.csv").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(ErrorOf(MakeTestDirectory("empty")), HasSubstr("train-images-idx3-ubyte.gz"));
  EXPECT_THAT(ErrorOf(MakeTestDirectory("folder.csv") + "/a,/no/b"), HasSubstr("folder.csv/a"));
}

TEST(Dataset, DataDirFromEnvironment_IsLookedAtFirst) {
  const std::string directory = MakeTestDirectory("data_dir");
  WriteFile(directory + "/digits.csv.gz", Gzip("1,2,0\n3,4,1\n5,6,x\n"));
  setenv("LOCKSTEP_DATASET_DIR", directory.c_str(), 1);
  const std::string error = ErrorOf("digits");
  unsetenv("LOCKSTEP_DATASET_DIR");
  EXPECT_THAT(error, HasSubstr(directory + "/digits.csv.gz: line 3, column 3"));
}

}  // namespace
}  // namespace lockstep::trainer
