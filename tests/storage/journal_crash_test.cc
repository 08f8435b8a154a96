// A crash at every single operation: what was committed comes back, and nothing else but the record in progress.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>

#include "tests/storage/faulty_files.h"
#include "tests/storage/journal_script.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {
namespace {

using Fault = FaultyFiles::Fault;
using Survives = FaultyFiles::Survives;

constexpr int kSteps = 25;

absl::Status RunUntilError(JournalScript& script) {
  absl::Status status = script.created() ? absl::OkStatus() : script.Create();
  for (int step = 0; status.ok() && step < kSteps; ++step) status = script.Step();
  return status;
}

uint64_t OperationsOf(bool sync, uint64_t seed) {
  FaultyFiles files(seed);
  JournalScript script(files, sync, seed);
  EXPECT_EQ(RunUntilError(script), absl::OkStatus());
  return files.operations();
}

// Crashes at operation `first`, and once more some operations into the recovery or what comes after it.
void CrashTwice(bool sync, Survives survives, uint64_t seed, uint64_t first) {
  FaultyFiles files(seed * 1000 + first);
  JournalScript script(files, sync, seed);
  files.FailAt(first, Fault::kCrash);
  RunUntilError(script).IgnoreError();
  files.Crash(survives);
  files.FailAt(files.operations() + first % 23, Fault::kCrash);
  absl::Status status = script.Recover();
  if (status.ok()) status = RunUntilError(script);
  ASSERT_FALSE(absl::IsDataLoss(status)) << status;
  files.Crash(survives);
  ASSERT_EQ(script.Recover(), absl::OkStatus());
  ASSERT_EQ(RunUntilError(script), absl::OkStatus());
  files.Crash(survives);
  ASSERT_EQ(script.Recover(), absl::OkStatus());
}

void CrashEverywhere(bool sync, Survives survives) {
  uint64_t crashes = 0;
  ForEachSeed(6, [&](Random& random) {
    const uint64_t seed = random() % 1'000'000;
    const uint64_t operations = OperationsOf(sync, seed);
    for (uint64_t at = 0; at < operations && !::testing::Test::HasFatalFailure(); ++at) {
      SCOPED_TRACE(at);
      CrashTwice(sync, survives, seed, at);
      ++crashes;
    }
  });
  std::printf("%lu first crashes, each followed by a second one\n", crashes);
}

TEST(JournalCrashTest, Machine_DiesAtAnyOperationWithSync_EveryCommittedRecordComesBack) {
  CrashEverywhere(/*sync=*/true, Survives::kSynced);
}

TEST(JournalCrashTest, Process_DiesAtAnyOperationWithSync_EveryCommittedRecordComesBack) {
  CrashEverywhere(/*sync=*/true, Survives::kAll);
}

TEST(JournalCrashTest, Process_DiesAtAnyOperationWithoutSync_EveryCommittedRecordComesBack) {
  CrashEverywhere(/*sync=*/false, Survives::kAll);
}

}  // namespace
}  // namespace lockstep::testing
