#include "worker/trainer/metrics_file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "worker/trainer/whole_file.h"

namespace lockstep::trainer {
namespace {

std::string TestFile(const std::string& name) { return std::string(std::getenv("TEST_TMPDIR")) + "/" + name; }

std::vector<nlohmann::json> Lines(const std::string& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

std::vector<int> Rounds(const std::string& path) {
  std::vector<int> rounds;
  for (const auto& line : Lines(path)) rounds.push_back(line["round"]);
  return rounds;
}

// As a rank 0 that holds `version` would: opens the file and writes rounds up to `last`.
void Train(const std::string& path, uint64_t version, uint64_t last) {
  absl::StatusOr<MetricsFile> file = MetricsFile::Open(path, version);
  ASSERT_TRUE(file.ok()) << file.status();
  for (uint64_t round = version + 1; round <= last; ++round) {
    ASSERT_TRUE(file->Append({.round = round, .samples = 128, .seconds = 0.5}).ok());
  }
}

TEST(MetricsFile, RoundsThatComeAgain_AreWrittenOnce) {
  const std::string path = TestFile("again.jsonl");
  Train(path, 0, 7);
  Train(path, 4, 6);
  EXPECT_EQ(Rounds(path), (std::vector<int>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(Lines(path).back()["elapsed_seconds"], 3.0);
  EXPECT_EQ(Lines(path).back()["samples_per_second"], 256.0);
}

TEST(MetricsFile, CutOffAnywhere_KeepsWholeLines) {
  const std::string path = TestFile("cut.jsonl");
  Train(path, 0, 3);
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  for (size_t size = 0; size <= whole.size(); ++size) {
    ASSERT_TRUE(WriteWholeFile(path, whole.substr(0, size)).ok());
    Train(path, 3, 5);
    const std::vector<int> rounds = Rounds(path);
    EXPECT_EQ(rounds.back(), 5) << size;
    for (size_t i = 1; i < rounds.size(); ++i) EXPECT_LT(rounds[i - 1], rounds[i]) << size;
  }
  EXPECT_EQ(Rounds(path), (std::vector<int>{1, 2, 3, 4, 5}));
}

TEST(MetricsFile, EmptyBatch_HasNoLoss) {
  const std::string path = TestFile("empty.jsonl");
  Train(path, 0, 1);
  EXPECT_TRUE(Lines(path)[0]["loss"].is_null());
}

TEST(MetricsFile, NoSuchFolder_SaysWhichFile) {
  const absl::StatusOr<MetricsFile> file = MetricsFile::Open("/no/such/folder/metrics.jsonl", 0);
  EXPECT_TRUE(absl::IsInvalidArgument(file.status()));
  EXPECT_NE(file.status().message().find("/no/such/folder/metrics.jsonl"), absl::string_view::npos);
}

}  // namespace
}  // namespace lockstep::trainer
