// Whole scenarios as text, compared with files that a person has checked by eye. When a change is meant, write them
// anew:
//   LOCKSTEP_WRITE_GOLDEN=$PWD/tests/server/core/golden bazel run //tests/server/core:scenario_test
#include "tests/server/core/scenario.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace lockstep::core {
namespace {

std::string ReadGolden(const std::string& name) {
  std::ifstream file(absl::StrCat("tests/server/core/golden/", name));
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void ExpectGolden(const Scenario& scenario, const std::string& name) {
  if (const char* folder = std::getenv("LOCKSTEP_WRITE_GOLDEN"); folder != nullptr) {
    std::ofstream(absl::StrCat(folder, "/", name)) << scenario.text();
    return;
  }
  EXPECT_EQ(scenario.text(), ReadGolden(name));
}

TEST(ScenarioTest, StragglerDies_IsReplaced_RoundResumes) {
  const Member a{Rank(0), Incarnation(10)};
  const Member b{Rank(1), Incarnation(11)};
  const Member b2{Rank(1), Incarnation(21)};
  Scenario run(/*workers=*/2, /*shards=*/2, /*blocks_per_shard=*/1);
  run.Say("Everybody joins; the last one starts generation 1.");
  run.ArriveShard(0);
  run.ArriveShard(1);
  run.Join(10, "a");
  run.Define(10);
  run.Join(11, "b");
  run.Define(11);
  run.Say("Rank 0 brings the initial values: version 0.");
  run.Attach(a, 1, 0);
  run.Attach(b, 1, 0);
  run.Contribute(a, 1, 0, 1);
  run.Say("Round 1: rank 1 reaches shard 0 but not shard 1. Shard 0 closes its block; version 1 is tentative there.");
  run.Contribute(a, 1, 1, 32);
  run.ContributeTo(0, b, 1, 1, 16);
  run.ShowStatus();
  run.Say("Rank 1 is dead; its lease expires and it is named.");
  run.Wait(absl::Seconds(4));
  run.Beat(10);
  run.Wait(absl::Seconds(2));
  run.Tick();
  run.ShowStatus();
  run.Say("Its replacement of the same name takes the rank. Shard 0 is one version ahead and undoes it.");
  run.Join(21, "b");
  run.Define(21);
  run.Say("What the dead process sent arrives late and counts for nothing.");
  run.ContributeTo(1, b, 1, 1, 16);
  run.Say("The replacement fetches version 0; both contribute to round 1 in generation 2.");
  run.Attach(a, 2, 1);
  run.Attach(b2, 2, 0);
  run.Contribute(a, 2, 1, 32);
  run.Contribute(b2, 2, 1, 16);
  run.Say("Both leave; the run is done.");
  run.Leave(10);
  run.Leave(21);
  ExpectGolden(run, "straggler_is_replaced.txt");
}

TEST(ScenarioTest, ShardLosesItsMemory_RunFailsLoudly) {
  const Member a{Rank(0), Incarnation(10)};
  Scenario run(/*workers=*/1, /*shards=*/2, /*blocks_per_shard=*/1);
  run.Say("One worker trains to version 1.");
  run.ArriveShard(0);
  run.ArriveShard(1);
  run.Join(10, "a");
  run.Define(10);
  run.Attach(a, 1, 0);
  run.Contribute(a, 1, 0, 1);
  run.Contribute(a, 1, 1, 4);
  run.Say("Shard 1 comes back with nothing.");
  run.RestartShard(1);
  run.ArriveShard(1);
  ExpectGolden(run, "shard_loses_its_memory.txt");
}

}  // namespace
}  // namespace lockstep::core
