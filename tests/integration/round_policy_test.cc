// Round policies with real servers, workers in threads: rounds go on without a straggler, who is told and follows; and
// every version has the bits that its participants' contributions make, in one sequential loop.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"

namespace lockstep::testing {
namespace {

constexpr float kLr = 0.125f;

// One run of workers, of which the last withholds its first contribution until another one holds version `kGate`.
class PolicyRun {
 public:
  static constexpr uint64_t kGate = 6;

  PolicyRun(std::vector<std::string> flags, uint32_t workers, uint64_t rounds)
      : workers_(workers), rounds_(rounds), cluster_({.shards = 2, .workers = workers, .flags = std::move(flags)}) {}

  void Run() {
    statuses_.resize(workers_);
    values_.resize(workers_);
    std::vector<std::thread> threads;
    for (uint32_t w = 0; w < workers_; ++w) threads.emplace_back([this, w] { statuses_[w] = Train(w); });
    for (std::thread& thread : threads) thread.join();
    for (const absl::Status& status : statuses_) EXPECT_TRUE(status.ok()) << status;
    for (int code : cluster_.WaitAll()) EXPECT_EQ(code, 0) << "servers end by themselves when the run is done";
  }

  // Every worker has the bits of the last version.
  void CheckBits() {
    const Tiny::Values expected = tiny_.Reference(workers_, rounds_, kLr, [this](uint32_t rank, uint64_t round) {
      const std::vector<uint32_t>& made_it = participants_.at(round);
      return std::count(made_it.begin(), made_it.end(), rank) > 0 ? 1.0f : 0.0f;
    });
    for (uint32_t w = 0; w < workers_; ++w) EXPECT_EQ(values_[w], expected) << "worker " << w;
  }

  const std::map<uint64_t, std::vector<uint32_t>>& participants() const { return participants_; }
  // What the straggler got for the contribution that it withheld.
  const RoundResult& first_of_straggler() const { return first_of_straggler_; }

 private:
  absl::Status Train(uint32_t w) {
    auto worker = Worker::Join({.coordinator = cluster_.coordinator(),
                                .name = absl::StrCat("w", w),
                                .rank = Rank(w),
                                .timeout = absl::Seconds(60)});
    if (!worker.ok()) return worker.status();
    Tiny::Values& values = values_[w];
    values = tiny_.Initial();
    auto held = (*worker)->Define(tiny_.model(), Spans(values), absl::Seconds(60));
    if (!held.ok()) return held.status();
    const bool straggler = w + 1 == workers_;
    while (straggler && newest_ < kGate) absl::SleepFor(absl::Milliseconds(5));
    bool first = true;
    while (held->version < rounds_) {
      const uint64_t round = held->version + 1;
      const Tiny::Values gradient = tiny_.Gradient(w, round, values);
      held = (*worker)->PushPull(ConstSpans(gradient), 1, Spans(values), absl::Seconds(60));
      if (!held.ok()) return held.status();
      if (straggler && std::exchange(first, false)) first_of_straggler_ = *held;
      Note(w, round, *held);
    }
    return (*worker)->Leave();
  }

  void Note(uint32_t w, uint64_t round, const RoundResult& result) {
    const std::lock_guard lock(mutex_);
    newest_ = std::max<uint64_t>(newest_, result.version);
    const auto [at, is_new] = participants_.try_emplace(result.version, result.participants);
    EXPECT_EQ(at->second, result.participants) << "two sets for version " << result.version << " (G2)";
    const bool made_it = std::count(result.participants.begin(), result.participants.end(), w) > 0;
    EXPECT_EQ(result.counted, result.version == round && made_it) << "worker " << w << ", round " << round << " (G3)";
    EXPECT_GE(result.version, round);
  }

  const uint32_t workers_;
  const uint64_t rounds_;
  const Tiny tiny_;
  Cluster cluster_;
  std::vector<absl::Status> statuses_;
  std::vector<Tiny::Values> values_;
  RoundResult first_of_straggler_;
  std::mutex mutex_;
  std::map<uint64_t, std::vector<uint32_t>> participants_;
  std::atomic<uint64_t> newest_ = 0;
};

std::vector<std::string> With(std::vector<std::string> policy) {
  for (const char* flag : {"--lr=0.125", "--block-elements=1024", "--connections=2"}) policy.push_back(flag);
  return policy;
}

TEST(QuorumTest, Straggler_RoundsGoOnWithoutIt_ItIsToldAndFollows) {
  PolicyRun run(With({"--policy=quorum", "--contributors=2"}), 3, 12);
  run.Run();
  EXPECT_FALSE(run.first_of_straggler().counted) << "its round was closed long before it came";
  EXPECT_GE(run.first_of_straggler().version, PolicyRun::kGate) << "it goes on from the newest version";
  for (uint64_t round = 1; round <= PolicyRun::kGate; ++round) {
    EXPECT_EQ(run.participants().at(round), (std::vector<uint32_t>{0, 1})) << "round " << round;
  }
}

TEST(QuorumTest, AnyRun_VersionsAreMadeOfTheirParticipantsAlone) {
  PolicyRun run(With({"--policy=quorum", "--contributors=2"}), 3, 12);
  run.Run();
  run.CheckBits();
}

TEST(DeadlineTest, Straggler_RoundsGoOnWithoutIt_ItIsToldAndFollows) {
  PolicyRun run(With({"--policy=deadline", "--deadline=20ms", "--contributors=1"}), 2, 12);
  run.Run();
  EXPECT_FALSE(run.first_of_straggler().counted);
  EXPECT_GE(run.first_of_straggler().version, PolicyRun::kGate);
  run.CheckBits();
}

// The disk of a shard is lost while a quorum trains and one worker has yet to bring its first contribution: the run
// goes back to its checkpoint, the rounds after that are decided anew, and the straggler follows.
TEST(QuorumTest, ShardLosesItsDisk_RunGoesBackWithoutTheStraggler_WhoFollows) {
  constexpr uint32_t kWorkers = 3;
  constexpr uint64_t kLast = 24;
  const std::string checkpoints = NewFolder("checkpoints");
  Cluster cluster({.shards = 2,
                   .workers = kWorkers,
                   .flags = With({"--policy=quorum", "--contributors=2", "--checkpoint-rounds=5",
                                  absl::StrCat("--checkpoint-dir=", checkpoints)})});
  const Tiny tiny;
  std::mutex mutex;
  std::map<uint64_t, RoundResult> made;  // what made a version; after going back what has made it last
  std::atomic<bool> lost = false;        // the disk; at version 13 workers wait for that
  std::atomic<uint32_t> went_back = 0;   // workers that were told
  std::vector<absl::Status> statuses(kWorkers);
  std::vector<Tiny::Values> values(kWorkers);
  const auto train = [&](uint32_t w) -> absl::Status {
    auto worker = Worker::Join({.coordinator = cluster.coordinator(),
                                .name = absl::StrCat("w", w),
                                .rank = Rank(w),
                                .timeout = absl::Seconds(60)});
    if (!worker.ok()) return worker.status();
    values[w] = tiny.Initial();
    auto held = (*worker)->Define(tiny.model(), Spans(values[w]), absl::Seconds(60));
    if (!held.ok()) return held.status();
    while (w == 2 && went_back < 2) absl::SleepFor(absl::Milliseconds(5));
    while (held->version < kLast) {
      while (held->version == 13 && !lost) absl::SleepFor(absl::Milliseconds(5));
      const Tiny::Values gradient = tiny.Gradient(w, held->version + 1, values[w]);
      held = (*worker)->PushPull(ConstSpans(gradient), 1, Spans(values[w]), absl::Seconds(60));
      if (!held.ok()) return held.status();
      if (held->rolled_back) {
        ++went_back;
        continue;
      }
      const std::lock_guard lock(mutex);
      RoundResult& known = made.try_emplace(held->version, *held).first->second;
      if (known.generation < held->generation) known = *held;
      if (known.generation == held->generation) {
        EXPECT_EQ(known.participants, held->participants) << "two sets for version " << held->version << " (G2)";
      }
    }
    return (*worker)->Leave();
  };
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < kWorkers; ++w) threads.emplace_back([&, w] { statuses[w] = train(w); });
  EXPECT_TRUE(cluster.Await([](const v1::Status& status) { return status.checkpoints().newest_version() >= 5; }));
  cluster.shard(1).Signal(SIGKILL);
  cluster.shard(1).Wait();
  std::filesystem::remove_all(cluster.DataFolder(1));
  cluster.RestartShard(1);
  lost = true;
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) ASSERT_TRUE(status.ok()) << status;
  EXPECT_GE(went_back, 2u);
  const Tiny::Values expected = tiny.Reference(kWorkers, kLast, kLr, [&](uint32_t rank, uint64_t round) {
    const std::vector<uint32_t>& made_it = made.at(round).participants;
    return std::count(made_it.begin(), made_it.end(), rank) > 0 ? 1.0f : 0.0f;
  });
  for (uint32_t w = 0; w < kWorkers; ++w) EXPECT_EQ(values[w], expected) << "worker " << w;
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace lockstep::testing
