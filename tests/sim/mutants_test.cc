// Every planted bug is noticed: the simulation is only worth something if it does.
#include "tests/sim/mutants.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/sim/crash_report.h"

namespace lockstep::sim {
namespace {

class MutantTest : public testing::TestWithParam<Mutant> {};

TEST_P(MutantTest, TwoThousandSeeds_Caught) {
  InstallCrashReport();
  const MutantResult result = TryMutant(GetParam(), 2000, 2);
  ASSERT_TRUE(result.caught) << "not noticed in " << result.tried << " seeds: " << GetParam().effect;
  EXPECT_TRUE(result.caught->guarantee.starts_with("G")) << "names no guarantee: " << result.caught->message;
  RecordProperty("caught_after_seeds", static_cast<int>(result.tried));
}

INSTANTIATE_TEST_SUITE_P(All, MutantTest, testing::ValuesIn(AllMutants()), [](const auto& info) {
  std::string name = std::string(info.param.where) + "_" + info.param.name;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

TEST(MutantTest, NoBugPlanted_NothingIsCaught) {
  EXPECT_FALSE(TryMutant({.name = "none", .where = "", .effect = ""}, 300, 2).caught);
}

TEST(MutantTest, AllMutants_AtLeastTwentyFiveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (const Mutant& mutant : AllMutants()) names.insert(std::string(mutant.where) + mutant.name);
  EXPECT_EQ(names.size(), AllMutants().size());
  EXPECT_GE(names.size(), 25u);
}

}  // namespace
}  // namespace lockstep::sim
