// Seeds that must hold. The bugs that must be noticed: mutants_test.
#include "tests/sim/simulation.h"

#include <gtest/gtest.h>

#include <string>

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

}  // namespace
}  // namespace lockstep::sim
