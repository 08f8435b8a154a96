// A disk that fails or is full at every single operation: writing again, once it works, loses and changes nothing.
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

// Each action again until it succeeds. `failures`: how often one did not.
void RunThroughErrors(JournalScript& script, FaultyFiles& files, int& failures) {
  int tries = 0;
  for (int step = 0; step < kSteps;) {
    const absl::Status status = script.created() ? script.Step() : script.Create();
    if (status.ok()) {
      step += script.created();
      continue;
    }
    ++failures;
    ASSERT_TRUE(absl::IsResourceExhausted(status) || absl::IsUnavailable(status)) << status;
    ASSERT_LT(++tries, 100) << status;
    if (tries % 3 == 2) files.Lift();
  }
}

void FailAt(Fault fault, bool sync, uint64_t seed, uint64_t at, uint64_t count, int& failures) {
  FaultyFiles files(seed * 1000 + at);
  JournalScript script(files, sync, seed);
  files.FailAt(at, fault, count);
  RunThroughErrors(script, files, failures);
  files.Crash(sync ? Survives::kSynced : Survives::kAll);
  ASSERT_EQ(script.Recover(), absl::OkStatus());
  ASSERT_EQ(script.Step(), absl::OkStatus());
  files.Crash(sync ? Survives::kSynced : Survives::kAll);
  ASSERT_EQ(script.Recover(), absl::OkStatus());
}

void FailEverywhere(Fault fault, bool sync) {
  int failures = 0;
  ForEachSeed(4, [&](Random& random) {
    const uint64_t seed = random() % 1'000'000;
    for (uint64_t at = 0; at < 200 && !::testing::Test::HasFatalFailure(); ++at) {
      SCOPED_TRACE(at);
      FailAt(fault, sync, seed, at, at % 2 == 0 ? 1 : FaultyFiles::kUntilLifted, failures);
    }
  });
  std::printf("%d calls failed\n", failures);
}

TEST(JournalFailureTest, Disk_FullAtAnyOperationWithSync_GoesOnWhenThereIsRoom) {
  FailEverywhere(Fault::kNoSpace, true);
}
TEST(JournalFailureTest, Disk_FullAtAnyOperationWithoutSync_GoesOnWhenThereIsRoom) {
  FailEverywhere(Fault::kNoSpace, false);
}
TEST(JournalFailureTest, Disk_BrokenAtAnyOperationWithSync_GoesOnWhenItWorks) { FailEverywhere(Fault::kBroken, true); }
TEST(JournalFailureTest, Disk_BrokenAtAnyOperationWithoutSync_GoesOnWhenItWorks) {
  FailEverywhere(Fault::kBroken, false);
}

// Fails at operation `at`, and crashes some operations after it: while it is being repaired, or not yet.
void FailAndCrash(bool sync, uint64_t seed, uint64_t at) {
  const Survives survives = sync ? Survives::kSynced : Survives::kAll;
  FaultyFiles files(seed * 1000 + at);
  JournalScript script(files, sync, seed);
  files.FailAt(at, Fault::kBroken);
  bool failed = false;
  for (int tries = 0; tries < 2 * kSteps; ++tries) {
    const absl::Status status = script.created() ? script.Step() : script.Create();
    if (status.ok()) continue;
    if (failed) break;
    failed = true;
    files.FailAt(files.operations() + seed % 13, Fault::kCrash);
  }
  files.Crash(survives);
  ASSERT_EQ(script.Recover(), absl::OkStatus());
  for (int step = 0; step < 5; ++step) ASSERT_EQ(script.Step(), absl::OkStatus());
  files.Crash(survives);
  ASSERT_EQ(script.Recover(), absl::OkStatus());
}

TEST(JournalFailureTest, Disk_BrokenAtAnyOperationAndCrashSoonAfter_LosesNothing) {
  ForEachSeed(40, [](Random& random) {
    const uint64_t seed = random() % 1'000'000;
    for (uint64_t at = 0; at < 200 && !::testing::Test::HasFatalFailure(); ++at) {
      SCOPED_TRACE(at);
      FailAndCrash(at % 2 == 0, seed, at);
      FailAndCrash(at % 2 != 0, seed, at);
    }
  });
}

TEST(JournalFailureTest, Disk_FailsToReadAtAnyPlaceOfARecovery_IsNoDamage) {
  ForEachSeed(3, [](Random& random) {
    FaultyFiles files(random());
    JournalScript script(files, false, random());
    ASSERT_EQ(script.Create(), absl::OkStatus());
    for (int step = 0; step < kSteps; ++step) ASSERT_EQ(script.Step(), absl::OkStatus());
    uint64_t failed = 0;
    for (uint64_t at = 0; at < 1000; ++at) {
      files.FailReadAt(at);
      const absl::Status status = script.Recover();
      if (status.ok()) break;
      ASSERT_TRUE(absl::IsUnavailable(status)) << status;
      ++failed;
    }
    files.Lift();
    ASSERT_EQ(script.Recover(), absl::OkStatus());
    ASSERT_GT(failed, 5u);
  });
}

TEST(JournalFailureTest, Disk_Full_GoesOnInSpaceThatWasForgotten) {
  FaultyFiles files(1);
  ASSERT_EQ(files.MakeFolder("disk"), absl::OkStatus());
  auto journal = storage::Journal::Create(files, "disk/j", {"run", ShardIndex(0), "", {1000}}, {.segment_bytes = 1});
  ASSERT_EQ(journal.status(), absl::OkStatus());
  const std::vector<float> block(1000, 1.5f);
  uint64_t version = 0;
  const auto write = [&]() -> absl::Status {
    absl::Status status = (*journal)->WriteBlock(Slot(0), block);
    if (!status.ok()) return status;
    return (*journal)->CommitRound({Generation(1), Version(version), storage::RoundContents::kGradient, {Rank(0)}});
  };
  for (; version < 10; ++version) ASSERT_EQ(write(), absl::OkStatus());
  files.LimitSpace(files.bytes() + 2000);  // an index, but no segment
  absl::Status status;
  for (; status.ok(); version += status.ok()) status = write();
  ASSERT_TRUE(absl::IsResourceExhausted(status)) << status;
  const uint64_t allocated = (*journal)->allocated_bytes();
  for (int i = 0; i < 100; ++i, ++version) {
    ASSERT_EQ((*journal)->Forget(Version(version - 1)), absl::OkStatus());
    ASSERT_EQ(write(), absl::OkStatus());
  }
  ASSERT_EQ((*journal)->allocated_bytes(), allocated);
  JournalTexts texts;
  ASSERT_EQ(storage::Journal::Recover(files, "disk/j", {}, texts).status(), absl::OkStatus());
  ASSERT_FALSE(texts.texts.empty());
}

}  // namespace
}  // namespace lockstep::testing
