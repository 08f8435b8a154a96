// G5 with real processes: servers are killed with kill -9 while workers train, and the bits are those of a run in which
// nobody died.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"

namespace lockstep::testing {
namespace {

constexpr uint32_t kShards = 2;
constexpr uint32_t kWorkers = 3;
constexpr uint64_t kRounds = 40;

class RecoveryTest : public ::testing::TestWithParam<std::string> {
 protected:
  // Trains to the end; rank 0 waits for `before_round` before each of its contributions. It is called on this thread,
  // since a child process dies with the thread that has started it.
  static Tiny::Values Run(Cluster& cluster, const std::function<void(uint64_t round)>& before_round) {
    const Tiny tiny;
    std::vector<Tiny::Values> values(kWorkers);
    std::vector<absl::Status> statuses(kWorkers);
    std::vector<std::thread> threads;
    std::atomic<uint64_t> asked = 0;
    std::atomic<uint64_t> answered = 0;
    std::atomic<uint32_t> running = kWorkers;
    for (uint32_t w = 0; w < kWorkers; ++w) {
      threads.emplace_back([&, w] {
        TrainOptions options{.coordinator = cluster.coordinator(), .name = absl::StrCat("w", w), .rounds = kRounds};
        options.before = [&](Worker& worker, uint64_t round) {
          if (worker.rank() != Rank(0)) return true;
          asked = round;
          while (answered < round) absl::SleepFor(absl::Milliseconds(1));
          return true;
        };
        statuses[w] = Train(tiny, options, values[w]);
        --running;
      });
    }
    while (running > 0) {
      if (const uint64_t round = asked; round > answered) {
        before_round(round);
        answered = round;
      }
      absl::SleepFor(absl::Milliseconds(1));
    }
    for (std::thread& thread : threads) thread.join();
    for (uint32_t w = 0; w < kWorkers; ++w) {
      EXPECT_TRUE(statuses[w].ok()) << "worker " << w << ": " << statuses[w];
      EXPECT_EQ(values[w], values[0]) << "worker " << w;
    }
    for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0) << "servers end by themselves when the run is done";
    return values[0];
  }
  static ClusterOptions Options() {
    return {.shards = kShards,
            .workers = kWorkers,
            .flags = {absl::StrCat("--optimizer=", GetParam()), "--lr=0.01", "--block-elements=1024"}};
  }
  static Tiny::Values Undisturbed() {
    Cluster cluster(Options());
    return Run(cluster, [](uint64_t) {});
  }
};

TEST_P(RecoveryTest, ShardIsKilled_ComesBackAndTheBitsAreTheSame) {
  Cluster cluster(Options());
  const Tiny::Values values = Run(cluster, [&](uint64_t round) {
    if (round % 10 == 5) cluster.RestartShard(1);
  });
  EXPECT_EQ(values, Undisturbed());
}

TEST_P(RecoveryTest, CoordinatorIsKilled_ComesBackAndTheBitsAreTheSame) {
  Cluster cluster(Options());
  const Tiny::Values values = Run(cluster, [&](uint64_t round) {
    if (round % 10 == 5) cluster.RestartShard(0);
  });
  EXPECT_EQ(values, Undisturbed());
}

TEST_P(RecoveryTest, AllServersAreKilledAtOnce_ComeBackAndTheBitsAreTheSame) {
  Cluster cluster(Options());
  const Tiny::Values values = Run(cluster, [&](uint64_t round) {
    if (round % 10 == 5) cluster.RestartShards({0, 1});
  });
  EXPECT_EQ(values, Undisturbed());
}

// Each life begins from a checkpoint, at another distance from it.
TEST_P(RecoveryTest, AllServersAreKilledWithCheckpointsInBetween_ComeBackAndTheBitsAreTheSame) {
  ClusterOptions options = Options();
  options.flags.push_back("--checkpoint-rounds=3");
  Cluster cluster(options);
  const Tiny::Values values = Run(cluster, [&](uint64_t round) {
    if (round % 7 == 5) cluster.RestartShards({0, 1});
  });
  EXPECT_EQ(values, Undisturbed());
}

// The journal lets go of whole segments, with a stateless optimizer long before the next checkpoint.
TEST_P(RecoveryTest, AllServersAreKilledWithTheJournalFarBeyondTheCheckpoint_ComeBackAndTheBitsAreTheSame) {
  ClusterOptions options = Options();
  options.flags.insert(options.flags.end(), {"--checkpoint-rounds=9", "--journal-segment-bytes=4096"});
  Cluster cluster(options);
  const Tiny::Values values = Run(cluster, [&](uint64_t round) {
    if (round % 8 == 0) cluster.RestartShards({0, 1});
  });
  EXPECT_EQ(values, Undisturbed());
}

INSTANTIATE_TEST_SUITE_P(Optimizers, RecoveryTest, ::testing::Values("sgd", "momentum", "adam", "aggregate"));

TEST(LostDiskTest, Shard_RestartsWithoutItsFolder_RunFailsLoudly) {
  Cluster cluster({.shards = 2, .workers = 1, .flags = {}});
  const Tiny tiny;
  Tiny::Values values;
  TrainOptions options{.coordinator = cluster.coordinator(), .name = "w", .rounds = 100};
  options.before = [&](Worker&, uint64_t round) {
    if (round != 5) return true;
    std::filesystem::remove_all(cluster.DataFolder(1));
    cluster.RestartShard(1);
    return true;
  };
  const absl::Status status = Train(tiny, options, values);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_NE(status.message().find("lost its memory"), absl::string_view::npos) << status;
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 75);
}

}  // namespace
}  // namespace lockstep::testing
