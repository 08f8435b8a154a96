// Data files with random damage, thousands of times: the answer is an error or a consistent data
// set, never a crash. Repeat one case: --test_env=LOCKSTEP_SEED=<the seed of the failure>.
// Most telling under --config=asan.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "tests/worker/trainer/test_files.h"
#include "worker/trainer/csv.h"
#include "worker/trainer/dataset.h"
#include "worker/trainer/idx.h"

namespace lockstep::trainer {
namespace {

constexpr uint64_t kTrials = 3000;

// Runs `trial` with many seeds, or with the one that LOCKSTEP_SEED names.
void ForEachSeed(const std::function<void(uint64_t seed)>& trial) {
  const char* chosen = std::getenv("LOCKSTEP_SEED");
  const uint64_t first = chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : 0;
  const uint64_t count = chosen != nullptr ? 1 : kTrials;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("LOCKSTEP_SEED=" + std::to_string(seed));
    trial(seed);
    if (testing::Test::HasFailure()) return;
  }
}

void ExpectConsistent(const Split& split, int classes) {
  EXPECT_GT(split.samples, 0u);
  EXPECT_EQ(split.x.size(), split.samples * split.features);
  EXPECT_EQ(split.labels.size(), split.samples);
  for (float x : split.x) EXPECT_TRUE(x >= 0.0f && x <= 1.0f) << x;
  for (int32_t label : split.labels) EXPECT_TRUE(label >= 0 && label < classes) << label;
}

void ExpectErrorOrConsistent(const absl::StatusOr<Split>& split, int classes) {
  if (split.ok()) {
    ExpectConsistent(*split, classes);
  } else {
    EXPECT_FALSE(split.status().message().empty());
  }
}

TEST(Damage, IdxPair_NeverCrashes) {
  const std::string directory = MakeTestDirectory("damage_idx");
  const std::string images = directory + "/images", labels = directory + "/labels";
  int refused = 0;
  ForEachSeed([&](uint64_t seed) {
    WriteFile(images, seed % 2 == 0 ? Damage(SmallImages(9), seed) : SmallImages(9));
    WriteFile(labels, seed % 2 == 1 ? Damage(SmallLabels(9), seed) : SmallLabels(9));
    const auto split = ReadIdxPair(images, labels, 3);
    ExpectErrorOrConsistent(split, 3);
    refused += !split.ok();
  });
  std::printf("%d damaged pairs refused\n", refused);
}

TEST(Damage, GzippedIdx_NeverCrashes) {
  const std::string directory = MakeTestDirectory("damage_gzip");
  const std::string images = directory + "/images.gz", labels = directory + "/labels";
  const std::string whole = Gzip(SmallImages(50));
  WriteFile(labels, SmallLabels(50));
  ForEachSeed([&](uint64_t seed) {
    WriteFile(images, Damage(whole, seed));
    ExpectErrorOrConsistent(ReadIdxPair(images, labels, 3), 3);
  });
}

TEST(Damage, Csv_NeverCrashes) {
  std::string whole = "a,b,c,label\n";
  for (int i = 0; i < 20; ++i) {
    whole += std::to_string(i) + "," + std::to_string(i * 0.37) + ",-3e2," + std::to_string(i % 3);
    whole += '\n';
  }
  ForEachSeed([&](uint64_t seed) {
    ExpectErrorOrConsistent(ParseCsv(Damage(whole, seed), "f.csv", kMaxClasses), kMaxClasses);
  });
}

}  // namespace
}  // namespace lockstep::trainer
