// NaN and Inf in contributions, real servers: each --nan-policy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"
#include "worker/client/reader.h"

namespace lockstep::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr float kLr = 0.125f;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr auto kLongTensor = 2;  // of Tiny: on all shards

// All workers of a run, in threads.
struct Outcome {
  std::vector<absl::Status> statuses;
  std::vector<Tiny::Values> values;
  std::map<uint64_t, std::vector<uint32_t>> participants;  // by version, as rank 0 was told
};

using Spoil = std::function<void(uint32_t, uint64_t, Tiny::Values&)>;

using Weight = std::function<float(uint32_t, uint64_t)>;

const Weight kOne = [](uint32_t, uint64_t) { return 1.0f; };

Outcome TrainAll(const Cluster& cluster, uint32_t workers, uint64_t rounds, const Spoil& spoil,
                 const Weight& weight = kOne) {
  Outcome run{
      .statuses = std::vector<absl::Status>(workers), .values = std::vector<Tiny::Values>(workers), .participants = {}};
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < workers; ++w) {
    threads.emplace_back([&, w] {
      TrainOptions options{.coordinator = cluster.coordinator(), .name = absl::StrCat("w", w), .rounds = rounds};
      options.spoil = spoil;
      options.weight = weight;
      options.after = [&](uint32_t rank, const RoundResult& result) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (rank == 0) run.participants[result.version] = result.participants;
      };
      run.statuses[w] = Train(Tiny(), options, run.values[w]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return run;
}

std::vector<std::string> Flags(const std::string& policy, std::vector<std::string> more = {}) {
  more.push_back(absl::StrCat("--nan-policy=", policy));
  more.push_back(absl::StrCat("--lr=", kLr));
  more.push_back("--block-elements=1000");
  return more;
}

void ExpectAll(const Outcome& run, const Tiny::Values& expected) {
  for (size_t w = 0; w < run.statuses.size(); ++w) {
    ASSERT_TRUE(run.statuses[w].ok()) << run.statuses[w];
    EXPECT_EQ(run.values[w], expected) << "worker " << w;
  }
}

TEST(NanFailTest, Contribution_HasANan_RunFailsLoudlyAndTheVersionBeforeStaysReadable) {
  Cluster cluster({.shards = 2, .workers = 3, .flags = Flags("fail", {"--linger=1h"})});
  const Outcome run = TrainAll(cluster, 3, 10, [](uint32_t rank, uint64_t round, Tiny::Values& gradient) {
    if (rank == 1 && round == 5) gradient[kLongTensor][12345] = std::nanf("");
  });
  const v1::Status status = cluster.Status();
  EXPECT_EQ(status.state(), v1::Status::FAILED);
  std::string name;
  for (const v1::WorkerStatus& worker : status.workers()) {
    if (worker.rank() == 1) name = worker.name();
  }
  const std::string what = absl::StrCat("the run has failed: round 5: rank 1 (worker '", name,
                                        "') contributed nan at element 12345 of tensor 'tensor-2'");
  EXPECT_THAT(status.summary(), HasSubstr(what));
  for (const absl::Status& of : run.statuses) {
    EXPECT_EQ(of.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(of.message()), HasSubstr(what));
  }
  auto late = Worker::Join({.coordinator = cluster.coordinator(), .name = "late", .timeout = absl::Seconds(20)});
  EXPECT_EQ(late.status().code(), absl::StatusCode::kInvalidArgument) << late.status();
  auto reader = Reader::Open(cluster.address(1), absl::Seconds(10));
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto snapshot = (*reader)->Pull(std::nullopt, absl::Seconds(60));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->version, 4u);
  Tiny::Values read;
  for (const NamedTensor& tensor : snapshot->tensors) read.push_back(tensor.values);
  EXPECT_EQ(read, Tiny().Reference(3, 4, kLr, [](uint32_t, uint64_t) { return 1.0f; }));
}

TEST(NanFailTest, InitialValues_HaveAnInf_RunFails) {
  Cluster cluster({.shards = 2, .workers = 1, .flags = Flags("drop", {"--linger=0s"})});
  auto worker = Worker::Join({.coordinator = cluster.coordinator(), .name = "w", .timeout = absl::Seconds(60)});
  ASSERT_TRUE(worker.ok());
  const Tiny tiny;
  Tiny::Values values = tiny.Initial();
  values[kLongTensor][39999] = -kInf;
  const auto held = (*worker)->Define(tiny.model(), Spans(values), absl::Seconds(60));
  EXPECT_EQ(held.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(held.status().message()),
              HasSubstr("the initial values that rank 0 (worker 'w') brought have -inf at element 39999 of tensor "
                        "'tensor-2'"));
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 64);
}

// The last element that rank 4 brings: other shards may have closed all their blocks by then.
TEST(NanDropTest, Contributions_AreBadNowAndThen_BitsOfARunWithoutThem) {
  constexpr uint32_t kWorkers = 10;  // two groups of the tree
  constexpr uint64_t kRounds = 12;
  Cluster cluster({.shards = 3, .workers = kWorkers, .flags = Flags("drop")});
  const auto bad = [](uint32_t rank, uint64_t round) {
    return (rank == 4 && round == 3) || (rank == 9 && round == 3) || (rank == 0 && round == 7) || round == 9;
  };
  const Outcome run = TrainAll(cluster, kWorkers, kRounds, [&](uint32_t rank, uint64_t round, Tiny::Values& gradient) {
    if (bad(rank, round)) gradient[kLongTensor][39999 - rank * 1000] = rank % 2 == 0 ? std::nanf("") : kInf;
  });
  Cluster other({.shards = 1, .workers = kWorkers, .flags = Flags("fail")});
  const Outcome without = TrainAll(other, kWorkers, kRounds, nullptr,
                                   [&](uint32_t rank, uint64_t round) { return bad(rank, round) ? 0.0f : 1.0f; });
  ASSERT_TRUE(without.statuses[0].ok()) << without.statuses[0];
  ExpectAll(run, without.values[0]);
  EXPECT_THAT(run.participants.at(2), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_THAT(run.participants.at(3), ElementsAre(0, 1, 2, 3, 5, 6, 7, 8));
  EXPECT_THAT(run.participants.at(7), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_THAT(run.participants.at(9), ElementsAre()) << "nobody's was good";
  EXPECT_THAT(run.participants.at(10), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0);
}

// Whoever comes back with what is on disk knows who is dropped; so do the bits.
TEST(NanDropTest, Servers_AreKilledAroundIt_SameBits) {
  constexpr uint64_t kRounds = 10;
  Cluster cluster({.shards = 2, .workers = 3, .flags = Flags("drop", {"--optimizer=sgd"})});
  std::atomic<int> spoiled = 0;
  Outcome run;
  std::thread training([&] {
    run = TrainAll(cluster, 3, kRounds, [&](uint32_t rank, uint64_t round, Tiny::Values& gradient) {
      if (rank != 2 || round != 4) return;
      gradient[kLongTensor][0] = kInf;
      ++spoiled;
    });
  });
  while (spoiled == 0) std::this_thread::yield();
  cluster.RestartShards({0, 1});  // here, since processes end with the thread that has started them
  training.join();
  ExpectAll(run, Tiny().Reference(3, kRounds, kLr, [&](uint32_t rank, uint64_t round) {
    return rank == 2 && round == 4 ? 0.0f : 1.0f;
  }));
  EXPECT_THAT(run.participants.at(4), ElementsAre(0, 1));
}

TEST(NanAllowTest, Contribution_HasANan_GoesIntoTheModel) {
  Cluster cluster({.shards = 2, .workers = 2, .flags = Flags("allow")});
  const Outcome run = TrainAll(cluster, 2, 4, [](uint32_t rank, uint64_t round, Tiny::Values& gradient) {
    if (rank == 1 && round == 2) gradient[kLongTensor][7] = std::nanf("");
  });
  for (const absl::Status& status : run.statuses) EXPECT_TRUE(status.ok()) << status;
  for (const Tiny::Values& values : run.values) {
    EXPECT_TRUE(std::isnan(values[kLongTensor][7]));
    EXPECT_EQ(
        std::count_if(values[kLongTensor].begin(), values[kLongTensor].end(), [](float v) { return std::isnan(v); }),
        1);
  }
  EXPECT_THAT(run.participants.at(2), ElementsAre(0, 1));
}

}  // namespace
}  // namespace lockstep::testing
