// Servers as a cluster manager treats them: asked to stop with SIGTERM, probed, restarted when the run is done, started
// on damaged data.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "proto/control.grpc.pb.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"
#include "worker/client/reader.h"

namespace lockstep::testing {
namespace {

constexpr uint32_t kWorkers = 2;
constexpr uint64_t kRounds = 30;
constexpr float kLr = 0.25;

ClusterOptions Options(std::vector<std::string> flags = {}) {
  flags.push_back(absl::StrCat("--lr=", kLr));
  return {.shards = 2, .workers = kWorkers, .flags = std::move(flags)};
}

Tiny::Values Expected() {
  return Tiny().Reference(kWorkers, kRounds, kLr, [](uint32_t, uint64_t) { return 1.0f; });
}

// Trains with kWorkers workers. `before(rank, round)` is called on their threads, `meanwhile` over and over on this one
// (the only one that may start processes).
void TrainAll(Cluster& cluster, const std::function<void(uint32_t rank, uint64_t round)>& before,
              const std::function<void()>& meanwhile) {
  const Tiny tiny;
  const Tiny::Values expected = Expected();
  std::atomic<uint32_t> running = kWorkers;
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      TrainOptions options{.coordinator = cluster.coordinator(), .name = absl::StrCat("w", w), .rounds = kRounds};
      options.before = [&](Worker& worker, uint64_t round) {
        before(worker.rank().value(), round);
        return true;
      };
      Tiny::Values values;
      const absl::Status status = Train(tiny, options, values);
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_EQ(values, expected);
      --running;
    });
  }
  while (running > 0) {
    meanwhile();
    absl::SleepFor(absl::Milliseconds(1));
  }
  for (std::thread& thread : threads) thread.join();
}

grpc::Status Health(const std::string& address, v1::HealthReply& health) {
  const auto control = v1::Control::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  return control->GetHealth(&context, v1::HealthRequest(), &health);
}

// Polls for some 30 seconds.
bool EventuallyReady(const std::string& address, bool ready) {
  for (int attempt = 0; attempt < 600; ++attempt) {
    v1::HealthReply health;
    if (Health(address, health).ok() && health.ready() == ready) return true;
    absl::SleepFor(absl::Milliseconds(50));
  }
  return false;
}

TEST(StopTest, EachServerInTurn_AskedToStopWhileOthersTrain_ExitsWith0AndTheBitsAreTheSame) {
  Cluster cluster(Options());
  std::atomic<uint64_t> asked = 0;
  uint64_t stopped = 0;
  TrainAll(
      cluster,
      [&](uint32_t rank, uint64_t round) {
        if (rank == 0 && round % 7 == 3) asked = round;
      },
      [&] {
        if (asked == stopped) return;
        stopped = asked;
        EXPECT_EQ(cluster.StopAndStartShard(static_cast<uint32_t>(stopped / 7 % 2)), 0);
      });
  EXPECT_GE(stopped, 24u);
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0);
}

// The round cannot end: one of its contributions is not there. It is left to be undone.
TEST(StopTest, Server_AskedToStopWhileAStragglerIsAwaited_ExitsWith0AndTheBitsAreTheSame) {
  Cluster cluster(Options({"--grace=1s"}));
  std::atomic<bool> waits = false;
  std::atomic<bool> back = false;
  TrainAll(
      cluster,
      [&](uint32_t rank, uint64_t round) {
        if (round != 9 || rank != 1 || back) return;
        absl::SleepFor(absl::Milliseconds(100));  // the other contribution comes
        waits = true;
        while (!back) absl::SleepFor(absl::Milliseconds(1));
      },
      [&] {
        if (!waits || back) return;
        EXPECT_EQ(cluster.StopAndStartShard(1), 0);
        back = true;
      });
  EXPECT_TRUE(back);
}

TEST(StopTest, Server_WithoutARun_ExitsWith0) {
  Cluster cluster(Options());
  cluster.shard(1).Signal(SIGTERM);
  EXPECT_EQ(cluster.shard(1).Wait(), 0);
  cluster.shard(0).Signal(SIGTERM);
  EXPECT_EQ(cluster.shard(0).Wait(), 0);
}

TEST(AfterRunTest, ServersThatStay_AnswerAfterTheRunAndAfterARestart_UntilTheyAreAskedToStop) {
  Cluster cluster(Options({"--after-run=serve"}));
  TrainAll(
      cluster, [](uint32_t, uint64_t) {}, [] {});
  const Tiny::Values expected = Expected();
  for (int life = 0; life < 3; ++life) {
    SCOPED_TRACE(life);
    ASSERT_TRUE(cluster.Await([](const v1::Status& status) {
      return status.state() == v1::Status::DONE && status.shards(1).state() == v1::ShardStatus::UP &&
             status.version() == kRounds;
    }));
    EXPECT_TRUE(cluster.Status().healthy());
    EXPECT_TRUE(EventuallyReady(cluster.address(1), true));
    const auto reader = Reader::Open(cluster.address(1), absl::Seconds(30));
    ASSERT_TRUE(reader.ok()) << reader.status();
    const auto snapshot = (*reader)->Pull(std::nullopt, absl::Seconds(30));
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    EXPECT_EQ(snapshot->version, kRounds);
    for (size_t t = 0; t < expected.size(); ++t) EXPECT_EQ(snapshot->tensors[t].values, expected[t]);
    // A worker that is restarted, or comes late, has nothing to do.
    for (const char* name : {"w0", "late"}) {
      const auto late =
          Worker::Join({.coordinator = cluster.coordinator(), .name = name, .timeout = absl::Seconds(30)});
      EXPECT_TRUE(absl::IsAlreadyExists(late.status())) << late.status();
    }
    if (life == 0) cluster.RestartShards({0, 1});
    if (life == 1) cluster.RestartShard(1);
  }
  for (uint32_t shard : {0, 1}) cluster.shard(shard).Signal(SIGTERM);
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0);
}

TEST(HealthTest, Server_IsReadyWithoutWorkers_AndLiveWithoutCoordinator) {
  Cluster cluster(Options());
  EXPECT_TRUE(EventuallyReady(cluster.address(0), true));
  EXPECT_TRUE(EventuallyReady(cluster.address(1), true));
  cluster.shard(0).Signal(SIGKILL);
  cluster.shard(0).Wait();
  EXPECT_TRUE(EventuallyReady(cluster.address(1), false));
  v1::HealthReply health;
  ASSERT_TRUE(Health(cluster.address(1), health).ok());
  EXPECT_TRUE(health.started());
  EXPECT_TRUE(health.live());
  EXPECT_THAT(health.message(), ::testing::HasSubstr(cluster.address(0)));
}

// The process has a handler for the signal, by the kernel's account.
bool Catches(pid_t pid, int signal) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("SigCgt:", 0) == 0) return std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1;
  }
  return false;
}

TEST(StopTest, Server_WhoseDiskStandsStillWhileItRecovers_EndsAtOnceWith0) {
  const std::string folder = NewFolder("recovers");
  // Whoever opens this waits for ever.
  ASSERT_EQ(mkfifo(absl::StrCat(folder, "/base").c_str(), 0600), 0);
  Process server({Program("server/lockstep-server"), "--bind=127.0.0.1:0", absl::StrCat("--data-dir=", folder)},
                 absl::StrCat(NewFolder("recovers-log"), "/log"));
  for (int attempt = 0; attempt < 600 && !Catches(server.pid(), SIGTERM); ++attempt) {
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_EQ(server.Poll(), -1);
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 0);
}

TEST(DamageTest, Server_StartedOnDamagedData_ExitsWith65AndNamesTheFile) {
  for (const char* file : {"coordinator", "journal/journal-index"}) {
    SCOPED_TRACE(file);
    Cluster cluster(Options({"--after-run=serve"}));
    TrainAll(
        cluster, [](uint32_t, uint64_t) {}, [] {});
    cluster.shard(0).Signal(SIGTERM);
    EXPECT_EQ(cluster.shard(0).Wait(), 0);
    std::fstream stream(absl::StrCat(cluster.DataFolder(0), "/", file), std::ios::in | std::ios::out);
    ASSERT_TRUE(stream.good());
    stream.seekp(30);
    stream.put('\xff').put('\xfe');
    stream.close();
    const std::string log = absl::StrCat(NewFolder("damage"), "/log");
    Process again({Program("server/lockstep-server"), "--shards=2", "--shard-index=0", "--workers=2",
                   "--bind=127.0.0.1:0", absl::StrCat("--data-dir=", cluster.DataFolder(0))},
                  log);
    EXPECT_EQ(again.Wait(), 65);
    std::ifstream said(log);
    const std::string text((std::istreambuf_iterator<char>(said)), {});
    EXPECT_THAT(text, ::testing::HasSubstr(absl::StrCat(cluster.DataFolder(0), "/", file)));
  }
}

}  // namespace
}  // namespace lockstep::testing
