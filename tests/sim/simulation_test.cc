// Seeds that must hold, and bugs that must not: the simulation is only worth something if it notices them.
#include "tests/sim/simulation.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_join.h"
#include "tests/sim/crash_report.h"

namespace lockstep::sim {
namespace {

TEST(SimulationTest, ThreeHundredSeeds_NoViolation) {
  InstallCrashReport();
  const CampaignResult result = RunCampaign({.first_seed = 1, .seeds = 300});
  EXPECT_FALSE(result.violation) << Describe(*result.violation);
  EXPECT_EQ(result.runs, 300);
}

TEST(SimulationTest, SameSeedTwice_SameTrace) {
  for (uint64_t seed : {1, 2, 3, 5, 8, 13, 21, 34}) {
    const RunResult first = RunSeed(seed);
    const RunResult second = RunSeed(seed);
    EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
    EXPECT_EQ(first.steps, second.steps) << "seed " << seed;
  }
}

TEST(SimulationTest, TwoSeeds_DifferentTraces) { EXPECT_NE(RunSeed(1).trace_hash, RunSeed(2).trace_hash); }

struct Planted {
  const char* name;
  PlantedBug bug;
  const char* message;  // part of what the check says
};
void PrintTo(const Planted& planted, std::ostream* out) { *out << planted.name; }

class PlantedBugTest : public testing::TestWithParam<Planted> {};

TEST_P(PlantedBugTest, FiveHundredSeeds_Caught) {
  const CampaignResult result = RunCampaign({.first_seed = 1, .seeds = 500, .bug = GetParam().bug});
  ASSERT_TRUE(result.violation) << "the bug is not noticed";
  EXPECT_NE(result.violation->violation->find(GetParam().message), std::string::npos) << Describe(*result.violation);
  RecordProperty("caught_after_seeds", static_cast<int>(result.runs));
}

INSTANTIATE_TEST_SUITE_P(
    All, PlantedBugTest,
    testing::Values(Planted{"CountsDuplicates", PlantedBug::kCountsDuplicates, "wrong bits"},
                    Planted{"ForgetsUndo", PlantedBug::kForgetsUndo, "wrong bits"},
                    Planted{"FoldsEarly", PlantedBug::kFoldsEarly, "wrong bits"},
                    Planted{"IgnoresGeneration", PlantedBug::kIgnoresGeneration, "G3"},
                    Planted{"DetachesLate", PlantedBug::kDetachesLate, "does not end"},
                    Planted{"ForgetsToResend", PlantedBug::kForgetsToResend, "does not end"},
                    Planted{"AnnouncesEarly", PlantedBug::kAnnouncesEarly, "rejects"},
                    Planted{"NeverTicks", PlantedBug::kNeverTicks, "nobody says so"},
                    Planted{"SkipsJournal", PlantedBug::kSkipsJournal, "G5"},
                    Planted{"CompletesEarly", PlantedBug::kCompletesEarly, "G5"},
                    Planted{"ReplayForgetsUndo", PlantedBug::kReplayForgetsUndo, "wrong bits"},
                    Planted{"ReplaysTwice", PlantedBug::kReplaysTwice, "wrong bits"},
                    Planted{"ReplayCommits", PlantedBug::kReplayCommits, "commit"},
                    Planted{"ReplayLosesTail", PlantedBug::kReplayLosesTail, "is held"},
                    Planted{"ReplaysNothingAsZero", PlantedBug::kReplaysNothingAsZero, "wrong bits"},
                    Planted{"ForgetsSync", PlantedBug::kForgetsSync, "may yet lose"},
                    Planted{"TrustsUnsynced", PlantedBug::kTrustsUnsynced, "acts before"},
                    Planted{"ServesAtOnce", PlantedBug::kServesAtOnce, "this life of it"},
                    Planted{"ActsBeforePersisting", PlantedBug::kActsBeforePersisting, "acts before"},
                    Planted{"ReusesGeneration", PlantedBug::kReusesGeneration, "used twice"},
                    Planted{"ForgetsFenced", PlantedBug::kForgetsFenced, "a fenced worker is welcomed"},
                    Planted{"ForgetsSeats", PlantedBug::kForgetsSeats, "rank changes"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace lockstep::sim
