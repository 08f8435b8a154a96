// Checkpoints of a run with real processes: they are written while it trains, a run that begins with one (on another
// number of shards, too) comes to the bits of one that was never interrupted, and a run whose shard has lost its disk
// goes back to the newest whole one and comes to those bits as well.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "proto/control.grpc.pb.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kWorkers = 2;
constexpr uint64_t kRounds = 30;

struct Outcome {
  Tiny::Values values;
  std::set<uint64_t> rolled_back_to;  // as workers were told
};

// Trains to version kRounds. `before_round` is called on this thread, before rank 0's contribution to each round that
// has not been before.
Outcome TrainAll(Cluster& cluster, const std::function<void(uint64_t round)>& before_round = nullptr) {
  const Tiny tiny;
  std::vector<Tiny::Values> values(kWorkers);
  std::vector<absl::Status> statuses(kWorkers);
  std::vector<std::set<uint64_t>> rolled_back(kWorkers);
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
      options.rolled_back = [&, w](uint64_t version) { rolled_back[w].insert(version); };
      statuses[w] = Train(tiny, options, values[w]);
      --running;
    });
  }
  while (running > 0) {
    if (const uint64_t round = asked; round > answered) {
      if (before_round) before_round(round);
      answered = round;
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
  for (std::thread& thread : threads) thread.join();
  for (uint32_t w = 0; w < kWorkers; ++w) {
    EXPECT_TRUE(statuses[w].ok()) << "worker " << w << ": " << statuses[w];
    EXPECT_EQ(values[w], values[0]) << "worker " << w;
    EXPECT_EQ(rolled_back[w], rolled_back[0]) << "worker " << w;
  }
  return {values[0], rolled_back[0]};
}

ClusterOptions OptionsOf(uint32_t shards, std::vector<std::string> flags) {
  flags.insert(flags.end(), {"--optimizer=adam", "--lr=0.01", "--block-elements=1024"});
  return {.shards = shards, .workers = kWorkers, .flags = std::move(flags)};
}

const Tiny::Values& Undisturbed() {
  static const auto* values = [] {
    Cluster cluster(OptionsOf(2, {}));
    return new Tiny::Values(TrainAll(cluster).values);
  }();
  return *values;
}

bool HasCheckpoint(const v1::Status& status, uint64_t version) {
  return status.checkpoints().has_newest() && status.checkpoints().newest_version() >= version;
}

std::string VersionFolder(const std::string& folder, uint64_t version) {
  return absl::StrFormat("%s/version-%010d", folder, version);
}

void FlipByteInTheMiddle(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto middle = static_cast<std::streamoff>(std::filesystem::file_size(path) / 2);
  char byte = 0;
  file.seekg(middle).read(&byte, 1);
  byte = static_cast<char>(byte ^ 0x10);
  file.seekp(middle).write(&byte, 1);
  ASSERT_TRUE(file.good()) << path;
}

v1::CheckpointStatus AskForCheckpoint(const Cluster& cluster) {
  const auto control =
      v1::Control::NewStub(grpc::CreateChannel(cluster.address(1), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::CheckpointReply reply;
  const grpc::Status status = control->TakeCheckpoint(&context, v1::CheckpointRequest(), &reply);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return reply.before();
}

TEST(CheckpointTest, EveryTenRounds_TheNewestTwoStayWithTheirManifests) {
  const std::string folder = NewFolder("checkpoints");
  Cluster cluster(
      OptionsOf(2, {absl::StrCat("--checkpoint-dir=", folder), "--checkpoint-rounds=5", "--keep-checkpoints=2"}));
  TrainAll(cluster, [&](uint64_t round) {
    // Version 5 n is committed by the contributions to round 5 n + 1.
    if (round % 5 == 2 && round > 5) {
      EXPECT_TRUE(cluster.Await([&](const v1::Status& status) { return HasCheckpoint(status, round - 2); })) << round;
    }
  });
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"version-0000000020", "version-0000000025"}));
  for (const char* file : {"manifest.json", "shard-0-of-2.safetensors", "shard-1-of-2.safetensors"}) {
    EXPECT_TRUE(std::filesystem::exists(absl::StrCat(VersionFolder(folder, 25), "/", file))) << file;
  }
}

TEST(CheckpointTest, EverySoOften_WithoutAnyOtherTrigger) {
  const std::string folder = NewFolder("checkpoints");
  Cluster cluster(OptionsOf(2, {absl::StrCat("--checkpoint-dir=", folder), "--checkpoint-rounds=1000000",
                                "--checkpoint-interval=100ms", "--keep-checkpoints=2"}));
  uint64_t finished = 0;
  TrainAll(cluster, [&](uint64_t) {
    // Each round takes as long as the interval, until there have been some.
    if (finished < 3) absl::SleepFor(absl::Milliseconds(100));
    finished = cluster.Status().checkpoints().finished();
  });
  EXPECT_GE(finished, 3u);
  size_t kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    kept += std::filesystem::exists(entry.path() / "manifest.json") ? 1 : 0;
  }
  EXPECT_EQ(kept, 2u);
}

TEST(CheckpointTest, AskedFor_IsWrittenInEachShardsFolderWithAManifest) {
  Cluster cluster(OptionsOf(2, {}));
  TrainAll(cluster, [&](uint64_t round) {
    if (round == 3) {
      EXPECT_EQ(AskForCheckpoint(cluster).finished(), 0u);
    }
    if (round == 20) {
      EXPECT_TRUE(cluster.Await([](const v1::Status& status) { return HasCheckpoint(status, 3); }));
    }
    if (round != 20) return;
    const v1::CheckpointStatus checkpoints = cluster.Status().checkpoints();
    EXPECT_EQ(checkpoints.finished(), 1u);
    for (uint32_t shard : {0, 1}) {
      const std::string manifest = absl::StrCat(
          VersionFolder(cluster.DataFolder(shard) + "/checkpoints", checkpoints.newest_version()), "/manifest.json");
      for (int wait = 0; wait < 600 && !std::filesystem::exists(manifest); ++wait)
        absl::SleepFor(absl::Milliseconds(20));
      EXPECT_TRUE(std::filesystem::exists(manifest)) << manifest;
    }
  });
}

// Half of the run on two shards, the other half on another number.
TEST(RestoreTest, OtherNumberOfShards_ComesToTheBitsOfAnUninterruptedRun) {
  const std::string folder = NewFolder("checkpoints");
  {
    Cluster cluster(OptionsOf(2, {absl::StrCat("--checkpoint-dir=", folder), "--checkpoint-rounds=10"}));
    TrainAll(cluster, [&](uint64_t round) {
      if (round == 12) {
        EXPECT_TRUE(cluster.Await([](const v1::Status& status) { return HasCheckpoint(status, 10); }));
      }
    });
  }
  for (uint32_t shards : {1, 2, 3}) {
    uint64_t first = 0;
    Cluster cluster(OptionsOf(shards, {absl::StrCat("--restore=", VersionFolder(folder, 10))}));
    const Outcome outcome = TrainAll(cluster, [&](uint64_t round) {
      if (first == 0) first = round;
      if (round == 17 && shards > 1) cluster.RestartShard(1);  // what was restored is its own by now
    });
    EXPECT_EQ(first, 11u) << "the run begins after the version that it was given";
    EXPECT_EQ(outcome.values, Undisturbed()) << "on " << shards << " shards";
  }
}

TEST(RestoreTest, NewestIsDamaged_TheOneBeforeIsUsedAndStatusNamesTheDamage) {
  const std::string folder = NewFolder("checkpoints");
  {
    Cluster cluster(OptionsOf(2, {absl::StrCat("--checkpoint-dir=", folder), "--checkpoint-rounds=10"}));
    TrainAll(cluster, [&](uint64_t round) {
      if (round % 10 != 2 || round < 12) return;
      EXPECT_TRUE(cluster.Await([&](const v1::Status& status) { return HasCheckpoint(status, round - 2); })) << round;
    });
  }
  const std::string damaged = VersionFolder(folder, 20) + "/shard-1-of-2.safetensors";
  FlipByteInTheMiddle(damaged);
  Cluster cluster(OptionsOf(2, {absl::StrCat("--restore=", folder)}));
  uint64_t first = 0;
  const Outcome outcome = TrainAll(cluster, [&](uint64_t round) {
    if (first != 0) return;
    first = round;
    EXPECT_THAT(cluster.Status().warning(), HasSubstr(damaged));
  });
  EXPECT_EQ(first, 11u);
  EXPECT_EQ(outcome.values, Undisturbed());
}

class LostShardTest : public ::testing::Test {
 protected:
  // The cluster trains with a checkpoint every ten rounds; `harm` comes before round 25, once version 20 is a
  // checkpoint.
  Outcome TrainAndHarm(std::vector<std::string> flags, const std::function<void(Cluster&)>& harm) {
    flags.push_back(absl::StrCat("--checkpoint-dir=", folder_));
    flags.push_back("--checkpoint-rounds=10");
    Cluster cluster(OptionsOf(2, std::move(flags)));
    return TrainAll(cluster, [&](uint64_t round) {
      if (round % 10 == 2 && round > 10) {
        EXPECT_TRUE(cluster.Await([&](const v1::Status& status) { return HasCheckpoint(status, round - 2); })) << round;
      }
      if (round == 25) harm(cluster);
      if (round == 28) status_ = cluster.Status();
    });
  }
  const std::string folder_ = NewFolder("checkpoints");
  v1::Status status_;  // before round 28
};

void LoseDisk(Cluster& cluster, uint32_t shard) {
  cluster.shard(shard).Signal(SIGKILL);
  cluster.shard(shard).Wait();
  std::filesystem::remove_all(cluster.DataFolder(shard));
  cluster.RestartShard(shard);
}

TEST_F(LostShardTest, ShardLosesItsDisk_RunGoesBackToTheNewestCheckpointAndSaysSo) {
  const Outcome outcome = TrainAndHarm({}, [](Cluster& cluster) { LoseDisk(cluster, 1); });
  EXPECT_EQ(outcome.rolled_back_to, std::set<uint64_t>{20}) << "workers are told";
  EXPECT_EQ(outcome.values, Undisturbed());
  EXPECT_EQ(status_.rolled_back().to_version(), 20u);
  // The shard that is still there may complete round 25 before it hears that the other one is back.
  EXPECT_THAT(status_.rolled_back().from_version(), ::testing::AnyOf(24u, 25u));
  EXPECT_EQ(status_.rolled_back().times(), 1u);
  EXPECT_THAT(status_.rolled_back().reason(), HasSubstr("shard 1 has lost its memory"));
}

// With a quorum of everybody, and a run that may grow and shrink, contributors are the same.
TEST_F(LostShardTest, OtherPolicies_RunGoesBackAllTheSame) {
  const std::vector<std::vector<std::string>> policies = {
      {"--policy=quorum", "--contributors=2"},
      {"--policy=deadline", "--deadline=1h", "--contributors=2"},
      {"--min-workers=1", "--max-workers=3"},
  };
  for (const std::vector<std::string>& flags : policies) {
    SCOPED_TRACE(flags[0]);
    std::filesystem::remove_all(folder_);
    const Outcome outcome = TrainAndHarm(flags, [](Cluster& cluster) { LoseDisk(cluster, 1); });
    EXPECT_EQ(outcome.rolled_back_to, std::set<uint64_t>{20});
    EXPECT_EQ(outcome.values, Undisturbed());
  }
}

TEST_F(LostShardTest, NewestCheckpointIsDamagedToo_RunGoesBackToTheOneBeforeAndNamesTheFile) {
  const std::string damaged = VersionFolder(folder_, 20) + "/shard-0-of-2.safetensors";
  const Outcome outcome = TrainAndHarm({}, [&](Cluster& cluster) {
    FlipByteInTheMiddle(damaged);
    LoseDisk(cluster, 1);
  });
  EXPECT_EQ(outcome.rolled_back_to, std::set<uint64_t>{10});
  EXPECT_EQ(outcome.values, Undisturbed());
  EXPECT_THAT(status_.rolled_back().reason(), HasSubstr(damaged));
}

TEST_F(LostShardTest, NoJournal_DeathOfAShardRollsTheRunBack) {
  const Outcome outcome = TrainAndHarm({"--durability=checkpoint"}, [](Cluster& cluster) { cluster.RestartShard(1); });
  EXPECT_EQ(outcome.rolled_back_to, std::set<uint64_t>{20});
  EXPECT_EQ(outcome.values, Undisturbed());
  EXPECT_EQ(status_.durability(), "checkpoint");
}

TEST_F(LostShardTest, AllServersDieWithoutAJournal_RunGoesBackToTheNewestCheckpoint) {
  const Outcome outcome = TrainAndHarm({"--durability=checkpoint"}, [](Cluster& cluster) {
    cluster.RestartShards({0, 1});
  });
  EXPECT_EQ(outcome.rolled_back_to, std::set<uint64_t>{20});
  EXPECT_EQ(outcome.values, Undisturbed());
}

// What is on the disk is damaged, and not the whole disk is gone: the same.
TEST_F(LostShardTest, OwnFileIsDamaged_ShardDoesNotLoadItAndTheRunGoesBack) {
  const std::string damaged = VersionFolder(folder_, 20) + "/shard-1-of-2.safetensors";
  const Outcome outcome = TrainAndHarm({}, [&](Cluster& cluster) {
    FlipByteInTheMiddle(damaged);
    cluster.RestartShard(1);
  });
  EXPECT_EQ(outcome.rolled_back_to, std::set<uint64_t>{10});
  EXPECT_EQ(outcome.values, Undisturbed());
  EXPECT_THAT(status_.rolled_back().reason(), HasSubstr(damaged));
}

}  // namespace
}  // namespace lockstep::testing
