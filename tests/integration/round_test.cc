// Real servers, workers in threads: what comes out is the sequential reference, bit for bit.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"

namespace lockstep::testing {
namespace {

constexpr float kLr = 0.125f;
const auto kEqualWeights = [](uint32_t, uint64_t) { return 1.0f; };

struct Shape {
  uint32_t workers;
  uint32_t shards;
  uint32_t connections;
  uint32_t block_elements;
};

std::vector<std::string> FlagsOf(const Shape& shape) {
  return {absl::StrCat("--lr=", kLr), absl::StrCat("--connections=", shape.connections),
          absl::StrCat("--block-elements=", shape.block_elements)};
}

class RoundTest : public ::testing::TestWithParam<Shape> {};

TEST_P(RoundTest, Train_AnyShape_EqualsSequentialReference) {
  const Shape shape = GetParam();
  Cluster cluster({.shards = shape.shards, .workers = shape.workers, .flags = FlagsOf(shape)});
  const Tiny tiny;
  const auto weight = [](uint32_t rank, uint64_t round) { return static_cast<float>((rank + round) % 4); };
  std::vector<Tiny::Values> values(shape.workers);
  std::vector<absl::Status> statuses(shape.workers);
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < shape.workers; ++w) {
    threads.emplace_back([&, w] {
      statuses[w] = Train(
          tiny, {.coordinator = cluster.coordinator(), .name = absl::StrCat("w", w), .rounds = 8, .weight = weight},
          values[w]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Tiny::Values expected = tiny.Reference(shape.workers, 8, kLr, weight);
  for (uint32_t w = 0; w < shape.workers; ++w) {
    ASSERT_TRUE(statuses[w].ok()) << statuses[w];
    EXPECT_EQ(values[w], expected) << "worker " << w;
  }
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0) << "servers end by themselves when the run is done";
}

INSTANTIATE_TEST_SUITE_P(Shapes, RoundTest,
                         ::testing::Values(Shape{1, 1, 1, 0}, Shape{2, 1, 2, 1000}, Shape{4, 2, 2, 512},
                                           Shape{3, 8, 3, 0}, Shape{5, 3, 1, 4096}));

TEST(RestartTest, Worker_CrashesAndReturnsByName_SameBits) {
  Cluster cluster({.shards = 2, .workers = 3, .flags = {absl::StrCat("--lr=", kLr)}});
  const Tiny tiny;
  constexpr uint64_t kRounds = 40;
  std::vector<Tiny::Values> values(3);
  std::vector<absl::Status> statuses(3);
  std::atomic<int> crashes = 0;
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < 3; ++w) {
    threads.emplace_back([&, w] {
      uint64_t crash_at = 3 + w;
      do {
        TrainOptions options{.coordinator = cluster.coordinator(), .name = absl::StrCat("w", w), .rounds = kRounds};
        options.before = [&](Worker&, uint64_t round) {
          if (round < crash_at) return true;
          crash_at = round + 5;
          ++crashes;
          return false;
        };
        statuses[w] = Train(tiny, options, values[w]);
      } while (absl::IsCancelled(statuses[w]));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Tiny::Values expected = tiny.Reference(3, kRounds, kLr, kEqualWeights);
  for (uint32_t w = 0; w < 3; ++w) {
    ASSERT_TRUE(statuses[w].ok()) << statuses[w];
    EXPECT_EQ(values[w], expected) << "worker " << w;
  }
  EXPECT_GE(crashes, 15);
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0);
}

TEST(StragglerTest, Worker_Withholds_IsNamedWithWhatIsMissing) {
  Cluster cluster({.shards = 2, .workers = 2, .flags = {"--lease=1s", "--block-elements=1024"}});
  const Tiny tiny;
  std::atomic<bool> go_on = false;
  std::vector<Tiny::Values> values(2);
  std::vector<absl::Status> statuses(2);
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < 2; ++w) {
    threads.emplace_back([&, w] {
      TrainOptions options{.coordinator = cluster.coordinator(), .name = absl::StrCat("w", w), .rounds = 4};
      options.before = [&](Worker& worker, uint64_t round) {
        while (round == 3 && worker.rank() == Rank(1) && !go_on) absl::SleepFor(absl::Milliseconds(10));
        return true;
      };
      statuses[w] = Train(tiny, options, values[w]);
    });
  }
  EXPECT_TRUE(cluster.Await([](const v1::Status& status) {
    return status.waiting_for_size() == 1 && status.waiting_for(0).has_rank() && status.waiting_for(0).rank() == 1 &&
           status.waiting_for(0).missing_size() == 2 && status.waiting_for(0).missing(0).missing_blocks() > 0 &&
           status.waiting_for(0).since_seconds() > 0.5;
  })) << cluster.Status().DebugString();
  go_on = true;
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) EXPECT_TRUE(status.ok()) << status;
}

TEST(LostShardTest, Shard_RestartsWithoutMemory_RunFailsLoudly) {
  Cluster cluster({.shards = 2, .workers = 1, .flags = {"--durability=memory"}});
  const Tiny tiny;
  Tiny::Values values;
  TrainOptions options{.coordinator = cluster.coordinator(), .name = "w", .rounds = 100};
  options.before = [&](Worker&, uint64_t round) {
    if (round == 5) cluster.RestartShard(1);
    return true;
  };
  const absl::Status status = Train(tiny, options, values);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_NE(status.message().find("lost its memory"), absl::string_view::npos) << status;
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 75);
}

}  // namespace
}  // namespace lockstep::testing
