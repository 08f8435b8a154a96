#include "worker/trainer/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::trainer {
namespace {

using testing::ElementsAre;

std::string ErrorOf(const std::string& text) {
  const auto split = ParseCsv(text, "f.csv", 10);
  EXPECT_EQ(split.status().code(), absl::StatusCode::kDataLoss) << split.status();
  return std::string(split.status().message());
}

TEST(Csv, Columns_AreScaledEachByItsRange) {
  const auto split = ParseCsv("0,-1,5,1\n4,3,5,0\n1,1,5,2\n", "f.csv", 10);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->samples, 3u);
  EXPECT_EQ(split->features, 3u);
  EXPECT_THAT(split->x, ElementsAre(0, 0, 0, 1, 1, 0, 0.25f, 0.5f, 0));
  EXPECT_THAT(split->labels, ElementsAre(1, 0, 2));
}

TEST(Csv, HeadingEmptyLinesAndCarriageReturns_AreSkipped) {
  const auto split = ParseCsv("width,height,kind\r\n\r\n1,2,0\r\n 3 , 4e0 ,1\r\n\n", "f.csv", 10);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(split->x, ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(split->labels, ElementsAre(0, 1));
}

TEST(Csv, DamagedCells_NameLineAndColumn) {
  EXPECT_EQ(ErrorOf("1,2,0\n1,x\x01,0\n"), "f.csv: line 2, column 2: expected a finite number, found 'x\\x01'");
  EXPECT_EQ(ErrorOf("1,,0\n"), "f.csv: line 1, column 2: expected a finite number, found ''");
  EXPECT_EQ(ErrorOf("1,nan,0\n"), "f.csv: line 1, column 2: expected a finite number, found 'nan'");
  EXPECT_EQ(ErrorOf("1,1e99,0\n"), "f.csv: line 1, column 2: expected a finite number, found '1e99'");
  EXPECT_EQ(ErrorOf("1,2,0\n1,2,3,0\n"),
            "f.csv: line 2, column 3: 4 cells in this row, but 3 in the first: cells lost or added");
}

TEST(Csv, BadLabels_NameLineAndColumn) {
  for (const std::string label : {"10", "-1", "1.5", "", "cat", "99999999999"}) {
    EXPECT_EQ(ErrorOf("1,2,0\n3,4," + label + "\n"),
              "f.csv: line 2, column 3: expected a label, a whole number in 0..9, found '" + label + "'");
  }
}

TEST(Csv, NoRows_IsRefused) {
  EXPECT_EQ(ErrorOf(""), "f.csv: no rows; expected features,...,label");
  EXPECT_EQ(ErrorOf("a,b,c\n"), "f.csv: no rows; expected features,...,label");
  EXPECT_EQ(ErrorOf("5\n"), "f.csv: line 1, column 1: one cell: expected features,...,label");
}

TEST(Csv, RangeBeyondFloat_StaysFinite) {
  const auto split = ParseCsv("-3e38,0\n3e38,1\n", "f.csv", 10);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(split->x, ElementsAre(0, 1));
}

}  // namespace
}  // namespace lockstep::trainer
