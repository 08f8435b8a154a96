#include "worker/trainer/input_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/trainer/test_files.h"
#include "worker/trainer/permutation.h"

namespace lockstep::trainer {
namespace {

using testing::HasSubstr;

class InputFileTest : public testing::Test {
 protected:
  const std::string path_ = MakeTestDirectory("input_file") + "/file";
};

// Bytes that don't compress, longer than one chunk of the reader.
std::string Noise(size_t size) {
  std::string noise(size, '\0');
  for (size_t i = 0; i < size; ++i) noise[i] = static_cast<char>(Mix64(i));
  return noise;
}

TEST_F(InputFileTest, PlainAndGzipped_GiveTheSameBytes) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{1} << 18, size_t{700001}}) {
    WriteFile(path_, Noise(size));
    EXPECT_EQ(*ReadInputFile(path_), Noise(size));
    WriteFile(path_, Gzip(Noise(size)));
    EXPECT_EQ(*ReadInputFile(path_), Noise(size));
  }
}

TEST_F(InputFileTest, TruncatedGzip_IsDataLossWithFileAndOffset) {
  const std::string whole = Gzip(Noise(1000));
  for (size_t size = 20; size < whole.size(); size += 7) {
    WriteFile(path_, whole.substr(0, size));
    const auto bytes = ReadInputFile(path_);
    ASSERT_EQ(bytes.status().code(), absl::StatusCode::kDataLoss) << size;
    EXPECT_THAT(std::string(bytes.status().message()), HasSubstr(path_ + ": damaged gzip data"));
  }
}

TEST_F(InputFileTest, FlippedBitInTheMiddle_IsDataLoss) {
  std::string damaged = Gzip(Noise(1000));
  damaged[500] ^= 4;
  WriteFile(path_, damaged);
  EXPECT_EQ(ReadInputFile(path_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(InputFileTest, GzipBomb_StopsAtTheLimit) {
  WriteFile(path_, Gzip(std::string(50'000'000, 'a')));
  const auto bytes = ReadInputFile(path_, 1'000'000);
  EXPECT_EQ(bytes.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(InputFileTest, MissingFileAndDirectory_AreErrors) {
  EXPECT_EQ(ReadInputFile(path_ + "-none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(ReadInputFile(testing::TempDir()).ok());
}

}  // namespace
}  // namespace lockstep::trainer
