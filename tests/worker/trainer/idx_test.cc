#include "worker/trainer/idx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/trainer/test_files.h"

namespace lockstep::trainer {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string ParseError(const std::string& bytes) {
  const auto array = ParseIdx(bytes, "f.idx");
  EXPECT_EQ(array.status().code(), absl::StatusCode::kDataLoss);
  return std::string(array.status().message());
}

TEST(Idx, WholeFile_IsParsed) {
  const auto array = ParseIdx(IdxBytes({2, 1, 3}, "abcdef"), "f.idx");
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_THAT(array->dimensions, ElementsAre(2, 1, 3));
  EXPECT_EQ(array->values, "abcdef");
  EXPECT_EQ(array->values_offset, 16u);
}

TEST(Idx, EveryTruncation_NamesFileAndOffset) {
  const std::string whole = IdxBytes({2, 1, 3}, "abcdef");
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(ParseError(whole.substr(0, size)), HasSubstr("f.idx: at offset ")) << size;
  }
}

TEST(Idx, WrongMagicTypeOrDimensions_IsRefused) {
  EXPECT_EQ(ParseError("PK\3\4...."), "f.idx: at offset 0: expected an IDX file, which starts with 00 00, found 50 4b");
  EXPECT_THAT(ParseError(std::string("\0\0\x0d\1\0\0\0\0", 8)), HasSubstr("offset 2: value type 0d"));
  EXPECT_THAT(ParseError(std::string("\0\0\x08\0", 4)), HasSubstr("offset 3: 0 dimensions"));
  EXPECT_THAT(ParseError(std::string("\0\0\x08\xff", 4)), HasSubstr("offset 3: 255 dimensions"));
}

TEST(Idx, SizesThatLie_AreRefusedBeforeAnythingIsAllocated) {
  EXPECT_EQ(ParseError(IdxBytes({4000000000u}, "abc")),
            "f.idx: at offset 4: size 4000000000 promises more values than the 3 bytes that "
            "follow: truncated file or damaged header");
  // 2^32 x 2^32: the product overflows 64 bits.
  EXPECT_THAT(ParseError(IdxBytes({1, 0xffffffff, 0xffffffff, 0xffffffff}, "abc")),
              HasSubstr("offset 8: size 4294967295 promises"));
  EXPECT_THAT(ParseError(IdxBytes({0, 5}, "")), HasSubstr("offset 4: a size of 0"));
  EXPECT_THAT(ParseError(IdxBytes({2}, "abc")), HasSubstr("offset 10: 1 bytes follow"));
}

class IdxPairTest : public testing::Test {
 protected:
  std::string ErrorOf(const std::string& images, const std::string& labels) {
    WriteFile(images_, images);
    WriteFile(labels_, labels);
    const auto split = ReadIdxPair(images_, labels_, 3);
    EXPECT_EQ(split.status().code(), absl::StatusCode::kDataLoss) << split.status();
    return std::string(split.status().message());
  }

  const std::string directory_ = MakeTestDirectory("idx_pair");
  const std::string images_ = directory_ + "/images.idx";
  const std::string labels_ = directory_ + "/labels.idx";
};

TEST_F(IdxPairTest, GzippedAndPlain_GiveScaledSamples) {
  WriteFile(images_, Gzip(IdxBytes({2, 1, 2}, std::string("\0\xff\x33\x66", 4))));
  WriteFile(labels_, IdxBytes({2}, std::string("\2\0", 2)));
  const auto split = ReadIdxPair(images_, labels_, 3);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->samples, 2u);
  EXPECT_EQ(split->features, 2u);
  EXPECT_THAT(split->x, ElementsAre(0.0f, 1.0f, 0.2f, 0.4f));
  EXPECT_THAT(split->labels, ElementsAre(2, 0));
}

TEST_F(IdxPairTest, LabelOutOfRange_NamesOffsetAndSample) {
  EXPECT_THAT(ErrorOf(SmallImages(3), IdxBytes({3}, std::string("\0\7\1", 3))),
              HasSubstr("labels.idx: at offset 9: label 7 of sample 1 is not in 0..2"));
}

TEST_F(IdxPairTest, FilesThatDontFitTogether_AreRefused) {
  EXPECT_THAT(ErrorOf(SmallImages(3), SmallLabels(4)), AllOf(HasSubstr("holds 3 images"), HasSubstr("holds 4 labels")));
  EXPECT_THAT(ErrorOf(SmallLabels(3), SmallLabels(3)), HasSubstr("expected images"));
  EXPECT_THAT(ErrorOf(SmallImages(3), SmallImages(3)), HasSubstr("expected labels"));
}

}  // namespace
}  // namespace lockstep::trainer
