// All interleavings within small bounds, and the rules without which there would be violations.
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "tests/sim/exploration/cases.h"
#include "tests/sim/exploration/explorer.h"

namespace lockstep::exploration {

void PrintTo(const Case& tried, std::ostream* out) { *out << tried.name; }

namespace {

class ExploreTest : public testing::TestWithParam<Case> {};

TEST_P(ExploreTest, AllInterleavings_AsExpected) {
  const ExplorationResult result = Explore(GetParam().options);
  EXPECT_TRUE(IsAsExpected(GetParam(), result))
      << result.states << " states, expected '" << GetParam().violation << "', found '" << result.violation << "':\n"
      << result.trace;
  if (GetParam().violation.empty()) {
    EXPECT_GT(result.finished, 0u) << "no run comes to its end";
    EXPECT_EQ(result.failed > 0, GetParam().options.power_loss) << "only a loss of power may fail a run";
  }
}

std::string NameOfCase(const testing::TestParamInfo<Case>& info) {
  std::string name;
  for (const char c : info.param.name) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(AllRules, ExploreTest, testing::ValuesIn(QuickCases()), NameOfCase);
INSTANTIATE_TEST_SUITE_P(WithoutRule, ExploreTest, testing::ValuesIn(CasesWithoutRule()), NameOfCase);

}  // namespace
}  // namespace lockstep::exploration
