// Policies that decide who contributes, with real processes of which any may die or lose its disk, while members come
// and go: every version has one set of participants, and the final bits are those that these sets make in one
// sequential loop.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {
namespace {

constexpr float kLr = 0.125f;
constexpr absl::Duration kPatience = absl::Seconds(60);

using Ranks = std::vector<uint32_t>;

// What a worker was told that it holds.
struct Told {
  uint64_t generation = 0;
  Ranks participants;
};
struct WentBack {
  uint64_t generation = 0;
  uint64_t to = 0;
  friend auto operator<=>(const WentBack&, const WentBack&) = default;
};

// A run whose workers, threads of this process, go no further than a gate that the test moves.
class DecidedRun {
 public:
  // `ranks`: how many there may be.
  DecidedRun(std::vector<std::string> flags, uint32_t workers, uint32_t ranks)
      : ranks_(ranks), cluster_(OptionsOf(std::move(flags), workers)), dies_(ranks), threads_(ranks), values_(ranks) {
    for (uint32_t w = 0; w < workers; ++w) Start(w);
  }
  ~DecidedRun() { EXPECT_TRUE(over_) << "the test ends its run"; }

  Cluster& cluster() { return cluster_; }
  const std::string& checkpoints() const { return checkpoints_; }

  // A worker, on a thread of its own.
  void Start(uint32_t w) {
    threads_[w] = std::thread([this, w] {
      const absl::Status status = RunWorker(w);
      EXPECT_TRUE(status.ok()) << "worker " << w << ": " << status;
    });
  }
  // In the middle of its next contribution.
  void KillWorker(uint32_t w, bool comes_back) { dies_[w] = comes_back ? Death::kComesBack : Death::kForGood; }

  // Lets workers make so many rounds more, and waits until one holds the last of them. Meanwhile, at some moment,
  // `harm` comes.
  void Train(uint64_t rounds, const std::function<void()>& harm = nullptr) {
    newest_ = 0;
    const uint64_t to = gate_ += rounds;
    if (harm) {
      absl::SleepFor(absl::Microseconds(Uniform(random_, 0, 20000)));
      harm();
    }
    const absl::Time patience = absl::Now() + kPatience;
    while (newest_ < to && absl::Now() < patience) absl::SleepFor(absl::Milliseconds(1));
    ASSERT_GE(newest_, to) << "the run stands still: " << cluster_.Status().DebugString();
  }
  // Until there is one checkpoint more. (Which versions become one is a matter of time.)
  void TrainToCheckpoint() {
    const uint64_t before = gate_;
    const auto taken = [before](const v1::Status& status) {
      return status.checkpoints().has_newest() && status.checkpoints().newest_version() > before;
    };
    while (!taken(cluster_.Status())) ASSERT_NO_FATAL_FAILURE(Train(1));
  }
  // The run has gone back so often, or more often: a generation that overtakes a roll back does it again.
  void AwaitWentBack(uint32_t times) const {
    EXPECT_TRUE(cluster_.Await([times](const v1::Status& status) { return status.rolled_back().times() >= times; }))
        << cluster_.Status().DebugString();
  }
  void LoseDisk(uint32_t shard) {
    cluster_.shard(shard).Signal(SIGKILL);
    cluster_.shard(shard).Wait();
    std::filesystem::remove_all(cluster_.DataFolder(shard));
    cluster_.RestartShard(shard);
  }

  // Trains some rounds more and to the end, and checks sets and bits.
  void End() {
    const uint64_t rounds = gate_ + 5;
    rounds_ = rounds;
    gate_ = rounds + 1;
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
    over_ = true;
    for (int code : cluster_.WaitAll()) EXPECT_EQ(code, 0) << "servers end by themselves when the run is done";
    if (::testing::Test::HasFailure()) return;
    const std::map<uint64_t, Ranks> made_by = ParticipantsOf(rounds);
    const Tiny::Values expected = tiny_.Reference(ranks_, rounds, kLr, [&](uint32_t rank, uint64_t round) {
      const Ranks& participants = made_by.at(round);
      return std::count(participants.begin(), participants.end(), rank) > 0 ? 1.0f : 0.0f;
    });
    EXPECT_FALSE(at_the_end_.empty());
    for (uint32_t w : at_the_end_) EXPECT_EQ(values_[w], expected) << "worker " << w;
  }

  std::set<WentBack> went_back() const { return went_back_; }

 private:
  enum class Death { kNone, kComesBack, kForGood };

  ClusterOptions OptionsOf(std::vector<std::string> flags, uint32_t workers) const {
    flags.insert(flags.end(), {absl::StrCat("--lr=", kLr), "--block-elements=1024", "--lease=1s",
                               absl::StrCat("--checkpoint-dir=", checkpoints_), "--checkpoint-rounds=5"});
    return {.shards = 2, .workers = workers, .flags = std::move(flags)};
  }

  absl::StatusOr<std::unique_ptr<Worker>> Join(uint32_t w, absl::StatusOr<RoundResult>& held) {
    auto worker = Worker::Join(
        {.coordinator = cluster_.coordinator(), .name = absl::StrCat("w", w), .rank = Rank(w), .timeout = kPatience});
    if (!worker.ok()) return worker;
    values_[w] = tiny_.Initial();
    held = (*worker)->Define(tiny_.model(), Spans(values_[w]), kPatience);
    if (held.ok()) Note(w, *held);
    return worker;
  }

  absl::Status RunWorker(uint32_t w) {
    Random random(w);
    absl::StatusOr<RoundResult> held;
    auto worker = Join(w, held);
    if (!worker.ok()) return worker.status();
    while (held.ok() && held->version < rounds_) {
      if (held->version >= gate_) {
        absl::SleepFor(absl::Milliseconds(1));
        continue;
      }
      absl::SleepFor(absl::Microseconds(Uniform(random, 0, 3000)));  // now this one is late, now that one
      const Tiny::Values gradient = tiny_.Gradient(w, held->version + 1, values_[w]);
      if (const Death death = dies_[w].exchange(Death::kNone); death != Death::kNone) {
        const absl::Status sent = (*worker)->PushPullAsync(ConstSpans(gradient), 1, Spans(values_[w]), [](auto) {});
        if (!sent.ok()) return sent;
        absl::SleepFor(absl::Microseconds(Uniform(random, 0, 1000)));
        worker->reset();
        if (death == Death::kForGood) return absl::OkStatus();
        worker = Join(w, held);
        if (!worker.ok()) return worker.status();
        continue;
      }
      held = (*worker)->PushPull(ConstSpans(gradient), 1, Spans(values_[w]), kPatience);
      if (held.ok()) Note(w, *held);
    }
    if (!held.ok()) return held.status();
    {
      const std::lock_guard lock(mutex_);
      at_the_end_.push_back(w);
    }
    return (*worker)->Leave();
  }

  void Note(uint32_t w, const RoundResult& result) {
    const std::lock_guard lock(mutex_);
    newest_ = std::max<uint64_t>(newest_, result.version);
    told_[result.version].push_back({result.generation, result.participants});
    if (result.rolled_back) went_back_.insert({result.generation, result.version});
    const bool made_it = std::count(result.participants.begin(), result.participants.end(), w) > 0;
    EXPECT_TRUE(made_it || !result.counted) << "worker " << w << ", version " << result.version << " (G3)";
  }

  // Of each version up to the last one. All who were told of one were told the same set (G2), unless the run has gone
  // back behind it in between: then the later set counts.
  std::map<uint64_t, Ranks> ParticipantsOf(uint64_t rounds) {
    std::map<uint64_t, Ranks> made_by;
    for (auto& [version, told] : told_) {
      std::stable_sort(told.begin(), told.end(),
                       [](const Told& a, const Told& b) { return a.generation < b.generation; });
      for (size_t i = 1; i < told.size(); ++i) {
        if (told[i].participants == told[i - 1].participants) continue;
        const bool done_again = std::any_of(went_back_.begin(), went_back_.end(), [&](const WentBack& back) {
          return back.to < version && back.generation > told[i - 1].generation && back.generation <= told[i].generation;
        });
        EXPECT_TRUE(done_again) << "two sets for version " << version
                                << " (G2): " << absl::StrJoin(told[i - 1].participants, ",") << " in generation "
                                << told[i - 1].generation << " and " << absl::StrJoin(told[i].participants, ",")
                                << " in generation " << told[i].generation;
      }
      if (version > 0) made_by[version] = told.back().participants;
    }
    EXPECT_EQ(made_by.size(), rounds) << "somebody was told of each version (G5)";
    return made_by;
  }

  const Tiny tiny_;
  const uint32_t ranks_;
  const std::string checkpoints_ = NewFolder("checkpoints");
  Cluster cluster_;
  Random random_{1};  // of pauses: which round a death hits is up to the machine all the same
  std::atomic<uint64_t> rounds_ = UINT64_MAX;
  std::atomic<uint64_t> gate_ = 0;
  std::atomic<uint64_t> newest_ = 0;
  std::vector<std::atomic<Death>> dies_;
  std::vector<std::thread> threads_;
  std::vector<Tiny::Values> values_;
  std::mutex mutex_;
  std::map<uint64_t, std::vector<Told>> told_;
  std::set<WentBack> went_back_;
  std::vector<uint32_t> at_the_end_;
  bool over_ = false;
};

struct Policy {
  const char* name;
  std::vector<std::string> flags;
};

class DecidedRecoveryTest : public ::testing::TestWithParam<Policy> {};

TEST_P(DecidedRecoveryTest, AnyProcessIsKilled_VersionsAreMadeOfTheirParticipantsAlone) {
  DecidedRun run(GetParam().flags, 3, 3);
  const std::vector<std::function<void()>> harms = {
      [&] { run.KillWorker(1, /*comes_back=*/true); },
      [&] { run.cluster().RestartShard(1); },
      [&] { run.cluster().RestartShard(0); },
      [&] {
        run.cluster().RestartShards({0, 1});
      },
      [&] {
        for (uint32_t w = 0; w < 3; ++w) run.KillWorker(w, true);
        run.cluster().RestartShards({0, 1});
      },
  };
  for (int again = 0; again < 3; ++again) {
    for (const auto& harm : harms) run.Train(6, harm);
  }
  run.End();
  EXPECT_TRUE(run.went_back().empty()) << "nothing that was held is lost (G5)";
}

TEST_P(DecidedRecoveryTest, ShardLosesItsDisk_RunGoesBackAndVersionsAreMadeOfTheirParticipantsAlone) {
  DecidedRun run(GetParam().flags, 3, 3);
  run.TrainToCheckpoint();
  run.Train(8, [&] { run.LoseDisk(1); });
  run.AwaitWentBack(1);
  run.TrainToCheckpoint();
  // Once more, while a worker dies, too.
  run.Train(8, [&] {
    run.KillWorker(2, true);
    run.LoseDisk(1);
  });
  run.AwaitWentBack(2);
  run.End();
  EXPECT_GE(run.went_back().size(), 2u) << "workers are told";
}

INSTANTIATE_TEST_SUITE_P(Policies, DecidedRecoveryTest,
                         ::testing::Values(Policy{"Quorum", {"--policy=quorum", "--contributors=2"}},
                                           Policy{"Deadline",
                                                  {"--policy=deadline", "--deadline=5ms", "--contributors=1"}}),
                         [](const auto& policy) { return std::string(policy.param.name); });

TEST(ElasticRecoveryTest, OneIsLostOneComesAndAShardLosesItsDisk_VersionsAreMadeOfTheirParticipantsAlone) {
  for (const std::vector<std::string>& policy :
       {std::vector<std::string>{}, std::vector<std::string>{"--policy=quorum", "--contributors=2"}}) {
    SCOPED_TRACE(absl::StrJoin(policy, " "));
    std::vector<std::string> flags = {"--min-workers=1", "--max-workers=4", "--replace-timeout=500ms"};
    flags.insert(flags.end(), policy.begin(), policy.end());
    DecidedRun run(flags, 3, 4);
    run.TrainToCheckpoint();
    run.Start(3);
    run.KillWorker(1, /*comes_back=*/false);
    run.Train(8);
    // Without rank 1, and with rank 3.
    EXPECT_TRUE(run.cluster().Await([](const v1::Status& status) {
      return status.workers(1).state() == v1::WorkerStatus::ABSENT &&
             status.workers(3).state() == v1::WorkerStatus::ACTIVE;
    }));
    run.TrainToCheckpoint();
    run.Train(8, [&] { run.LoseDisk(1); });
    run.AwaitWentBack(1);
    run.End();
    EXPECT_GE(run.went_back().size(), 1u) << "workers are told";
  }
}

}  // namespace
}  // namespace lockstep::testing
