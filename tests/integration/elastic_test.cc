// Workers that join and are lost while real servers go on: every version is made of its participants, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"

namespace lockstep::testing {
namespace {

using Ranks = std::vector<uint32_t>;

TEST(ElasticTest, OneJoinsAndOneIsLost_RunGoesOnWithTheOthers) {
  Cluster cluster(
      {.shards = 2,
       .workers = 2,
       .flags = {"--lr=0.125", "--lease=1s", "--max-workers=3", "--min-workers=1", "--replace-timeout=1s"}});
  const Tiny tiny;
  std::mutex mutex;
  std::map<uint64_t, Ranks> participants;
  std::atomic<uint64_t> newest = 0;
  std::atomic<bool> grown = false;
  std::atomic<bool> shrunk = false;
  const auto note = [&](const RoundResult& result) {
    const std::lock_guard lock(mutex);
    const Ranks& ranks = participants.try_emplace(result.version, result.participants).first->second;
    EXPECT_EQ(ranks, result.participants) << "two sets for version " << result.version << " (G2)";
    newest = std::max<uint64_t>(newest, result.version);
    grown = grown || ranks == Ranks{0, 1, 2};
    shrunk = shrunk || (grown && ranks == Ranks{0, 2});
  };
  // Trains until `over`, which ends it with or without leaving. `last`: the version that it ends with.
  const auto train = [&](uint32_t rank, auto over, bool leaves, uint64_t& last, Tiny::Values& values) -> absl::Status {
    auto worker = Worker::Join({.coordinator = cluster.coordinator(),
                                .name = absl::StrCat("w", rank),
                                .rank = Rank(rank),
                                .timeout = absl::Seconds(60)});
    if (!worker.ok()) return worker.status();
    values = tiny.Initial();
    auto held = (*worker)->Define(tiny.model(), Spans(values), absl::Seconds(60));
    while (held.ok() && !over()) {
      const Tiny::Values gradient = tiny.Gradient(rank, held->version + 1, values);
      held = (*worker)->PushPull(ConstSpans(gradient), 1, Spans(values), absl::Seconds(60));
      if (held.ok()) note(*held);
    }
    if (!held.ok()) return held.status();
    last = held->version;
    return leaves ? (*worker)->Leave() : absl::OkStatus();
  };
  std::vector<uint64_t> last(3);
  std::vector<Tiny::Values> values(3);
  std::vector<absl::Status> statuses(3);
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    statuses[0] = train(
        0, [&] { return shrunk.load(); }, true, last[0], values[0]);
  });
  threads.emplace_back([&] {
    statuses[1] = train(
        1, [&] { return grown.load(); }, false, last[1], values[1]);
  });
  threads.emplace_back([&] {
    while (newest < 3) absl::SleepFor(absl::Milliseconds(5));
    statuses[2] = train(
        2, [&] { return shrunk.load(); }, true, last[2], values[2]);
  });
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) EXPECT_TRUE(status.ok()) << status;
  for (uint32_t rank : {0, 2}) {
    const Tiny::Values expected = tiny.Reference(3, last[rank], 0.125f, [&](uint32_t r, uint64_t round) {
      const Ranks& made_it = participants.at(round);
      return std::count(made_it.begin(), made_it.end(), r) > 0 ? 1.0f : 0.0f;
    });
    EXPECT_EQ(values[rank], expected) << "rank " << rank << " at version " << last[rank];
  }
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0) << "servers end by themselves when the run is done";
}

}  // namespace
}  // namespace lockstep::testing
