// The worker against a coordinator and a shard that take their liberties: what it has borrowed it gives back, results
// come once, and greetings come first.
#include "worker/client/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/weight.h"
#include "proto/coordinator.pb.h"
#include "tests/worker/client/fake_run.h"

namespace lockstep::testing {
namespace {

constexpr float kPoison = 666;

// Version 0 is held, and the shard reads none of the contribution to round 1: 4 MB in four blocks, of which no more
// than 64 KB leave the caller's memory.
class StalledTest : public ::testing::Test {
 protected:
  static constexpr size_t kElements = 1 << 20;
  static constexpr size_t kBlocks = 4;

  StalledTest() : run_({.elements = kElements, .block_elements = kElements / kBlocks, .shard_reads = 1}) {
    auto worker = Worker::Join({.coordinator = run_.address(), .name = "w"});
    if (worker.ok()) worker_ = *std::move(worker);
  }
  void SetUp() override {
    ASSERT_NE(worker_, nullptr);
    const auto held = worker_->Define(run_.model(), {absl::MakeSpan(parameters_)});
    ASSERT_TRUE(held.ok()) << held.status();
    stream_ = run_.shard(0);
  }

  absl::Status Start(std::function<void(absl::StatusOr<RoundResult>)> done) {
    return worker_->PushPullAsync({absl::MakeConstSpan(gradients_)}, 1, {absl::MakeSpan(parameters_)}, std::move(done));
  }
  void SendVersion1() { run_.SendVersion(*stream_, 1, 1, 1); }

  // What the caller may do as soon as the memory is its own again. The shard reads on from the same moment.
  void Poison() {
    std::fill(gradients_.begin(), gradients_.end(), kPoison);
    stream_->ReadOn();
  }
  // Whatever still comes, until the stream ends or all of the contribution is there.
  void ExpectNoPoisonArrives() {
    stream_->AwaitHeard(1 + kBlocks);
    for (const v1::Frame& frame : stream_->frames()) {
      const std::string& payload = frame.payload();
      std::vector<float> values(payload.size() / sizeof(float));
      std::copy(payload.begin(), payload.end(), reinterpret_cast<char*>(values.data()));
      EXPECT_EQ(std::count(values.begin(), values.end(), kPoison), 0) << "gradients were read after they were returned";
    }
  }

  FakeRun run_;
  std::vector<float> gradients_ = std::vector<float>(kElements, 1);
  std::vector<float> parameters_ = std::vector<float>(kElements, -1);
  std::shared_ptr<FakeStream> stream_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(StalledTest, Wait_ResultComesWhileGradientsAreLent_ReturnsWhenTheyAreBack) {
  ASSERT_TRUE(Start(nullptr).ok());
  SendVersion1();
  const auto result = worker_->Wait();
  Poison();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->version, 1);
  EXPECT_EQ(parameters_, std::vector<float>(kElements, 1));
  ExpectNoPoisonArrives();
}

TEST_F(StalledTest, Worker_DestroyedAfterADeadline_HasGivenTheMemoryBack) {
  const auto result =
      worker_->PushPull({absl::MakeConstSpan(gradients_)}, 1, {absl::MakeSpan(parameters_)}, absl::Milliseconds(20));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded) << result.status();
  worker_.reset();
  Poison();
  SendVersion1();
  ExpectNoPoisonArrives();
  EXPECT_EQ(parameters_, std::vector<float>(kElements, 0)) << "parameters were written after they were returned";
}

TEST_F(StalledTest, Call_AfterADeadline_IsStillUnderWayAndCanBeWaitedFor) {
  ASSERT_TRUE(Start(nullptr).ok());
  EXPECT_EQ(worker_->Wait(absl::Milliseconds(20)).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Start(nullptr).code(), absl::StatusCode::kFailedPrecondition);
  SendVersion1();
  const auto result = worker_->Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(worker_->Wait().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(StalledTest, AsyncResult_ComesWhileGradientsAreLent_IsToldWhenTheyAreBack) {
  std::atomic<int> told = 0;
  absl::Notification first;
  ASSERT_TRUE(Start([&](const absl::StatusOr<RoundResult>& result) {
                EXPECT_TRUE(result.ok()) << result.status();
                Poison();
                if (++told == 1) first.Notify();
              }).ok());
  SendVersion1();
  first.WaitForNotification();  // not Wait, which would wait for the memory itself
  ExpectNoPoisonArrives();
  EXPECT_TRUE(worker_->Wait().ok());
  EXPECT_EQ(told, 1);
}

TEST_F(StalledTest, Worker_DestroyedWithAnAsyncCallUnderWay_TellsItOnceBeforeItIsGone) {
  std::atomic<int> told = 0;
  ASSERT_TRUE(Start([&](const absl::StatusOr<RoundResult>& result) {
                EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled) << result.status();
                Poison();
                ++told;
              }).ok());
  worker_.reset();
  EXPECT_EQ(told, 1);
  SendVersion1();
  ExpectNoPoisonArrives();
  EXPECT_EQ(told, 1);
}

TEST_F(StalledTest, Worker_DestroyedWhileAResultWaitsForMemory_TellsItOnce) {
  std::atomic<int> told = 0;
  ASSERT_TRUE(Start([&](const absl::StatusOr<RoundResult>&) {
                Poison();
                ++told;
              }).ok());
  SendVersion1();
  worker_.reset();  // before the result has come, while its delivery waits, or after it
  EXPECT_EQ(told, 1);
  ExpectNoPoisonArrives();
}

TEST_F(StalledTest, Leave_WithAnAsyncCallUnderWay_IsRefusedUntilItsResultIsTold) {
  std::atomic<int> told = 0;
  ASSERT_TRUE(Start([&](const absl::StatusOr<RoundResult>& result) {
                EXPECT_TRUE(result.ok()) << result.status();
                ++told;
              }).ok());
  EXPECT_EQ(worker_->Leave().code(), absl::StatusCode::kFailedPrecondition);
  SendVersion1();
  ASSERT_TRUE(worker_->Wait().ok());
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(worker_->Leave().ok());
  EXPECT_EQ(Start(nullptr).code(), absl::StatusCode::kFailedPrecondition);
  worker_.reset();
  EXPECT_EQ(told, 1);
}

TEST(AsyncTest, Result_IsBeingTold_NextCallMayBegin) {
  FakeRun run({});
  std::vector<float> gradients(1000), parameters(1000);
  auto worker = Worker::Join({.coordinator = run.address(), .name = "w"});
  ASSERT_TRUE(worker.ok()) << worker.status();
  ASSERT_TRUE((*worker)->Define(run.model(), {absl::MakeSpan(parameters)}).ok());
  const auto start = [&](std::function<void(absl::StatusOr<RoundResult>)> done) {
    return (*worker)->PushPullAsync({absl::MakeConstSpan(gradients)}, 1, {absl::MakeSpan(parameters)}, std::move(done));
  };
  absl::Notification told;
  absl::Notification begun;
  ASSERT_TRUE(start([&](const absl::StatusOr<RoundResult>& result) {
                EXPECT_TRUE(result.ok()) << result.status();
                told.Notify();
                begun.WaitForNotification();  // longer than whoever is woken needs for the next call
              }).ok());
  run.SendVersion(*run.shard(0), 1, 1, 1);
  told.WaitForNotification();
  const absl::Status next = start(nullptr);
  begun.Notify();
  ASSERT_TRUE(next.ok()) << next;
  run.SendVersion(*run.shard(0), 1, 2, 2);
  const auto result = (*worker)->Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->version, 2u);
  EXPECT_EQ(parameters, std::vector<float>(1000, 2));
}

// ---- The end of a worker ----

TEST_F(StalledTest, Worker_ShardRefusesItForGood_GivesItsPlaceUpThoughItIsKept) {
  ASSERT_TRUE(Start(nullptr).ok());
  stream_->End({grpc::StatusCode::INVALID_ARGUMENT, "a frame that breaks the protocol"});
  EXPECT_EQ(worker_->Wait().status().code(), absl::StatusCode::kInvalidArgument);
  run_.membership(0)->AwaitOver();  // in vain, if heartbeats went on
  EXPECT_EQ(run_.memberships(), 1u);
  EXPECT_EQ(Start(nullptr).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(worker_->Leave().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StalledTest, Weight_TooLargeForTheSumOverAllWorkers_IsRefused) {
  for (float weight : {std::nextafter(kMaxWeight, INFINITY), INFINITY, -1.0f, NAN}) {
    const absl::Status status =
        worker_->PushPullAsync({absl::MakeConstSpan(gradients_)}, weight, {absl::MakeSpan(parameters_)}, nullptr);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(status.message(), ::testing::HasSubstr("weight: expected a number from 0 to"));
  }
  EXPECT_TRUE(
      worker_->PushPullAsync({absl::MakeConstSpan(gradients_)}, kMaxWeight, {absl::MakeSpan(parameters_)}, nullptr)
          .ok());
}

// ---- Announcements ----

TEST(AnnounceTest, Connections_NoneOrTooMany_EndTheWorker) {
  for (uint32_t connections : {0u, 65u, UINT32_MAX}) {
    FakeRun run({.connections = connections});
    std::vector<float> parameters(1000);
    auto worker = Worker::Join({.coordinator = run.address(), .name = "w"});
    ASSERT_TRUE(worker.ok()) << worker.status();
    const absl::Status status = (*worker)->Define(run.model(), {absl::MakeSpan(parameters)}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(status.message(), ::testing::HasSubstr(absl::StrCat(connections, " connections")));
    run.membership(0)->AwaitOver();
  }
}

TEST(AnnounceTest, Blocks_NoneOrTooLarge_EndTheWorker) {
  for (int64_t block_elements : {int64_t{0}, int64_t{-1}, int64_t{1} << 25}) {
    FakeRun run({.elements = 1000, .block_elements = block_elements, .eager = false});
    std::vector<float> parameters(1000);
    auto worker = Worker::Join({.coordinator = run.address(), .name = "w"});
    ASSERT_TRUE(worker.ok()) << worker.status();
    const absl::Status status = (*worker)->Define(run.model(), {absl::MakeSpan(parameters)}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(status.message(), ::testing::HasSubstr("blocks of"));
  }
}

TEST(AnnounceTest, LaterGeneration_WithAnotherShape_EndsTheWorker) {
  struct Case {
    const char* says;
    void (*change)(v1::Announce&);
  };
  for (const Case& c :
       {Case{"2 connections to each shard", [](v1::Announce& announce) { announce.set_connections(2); }},
        Case{"0 connections to each shard", [](v1::Announce& announce) { announce.set_connections(0); }},
        Case{"999 elements in a block", [](v1::Announce& announce) { announce.set_block_elements(999); }},
        Case{"0 shards", [](v1::Announce& announce) { announce.clear_shard_addresses(); }},
        Case{"2 shards", [](v1::Announce& announce) { announce.add_shard_addresses("127.0.0.1:9"); }}}) {
    FakeRun run({});
    std::vector<float> values(1000);
    auto worker = Worker::Join({.coordinator = run.address(), .name = "w"});
    ASSERT_TRUE(worker.ok()) << worker.status();
    ASSERT_TRUE((*worker)->Define(run.model(), {absl::MakeSpan(values)}).ok());
    ASSERT_TRUE((*worker)->PushPullAsync({absl::MakeConstSpan(values)}, 1, {absl::MakeSpan(values)}, nullptr).ok());
    v1::WorkerCommand command;
    *command.mutable_announce() = run.AnnounceOf(2);
    c.change(*command.mutable_announce());
    run.membership(0)->Say(command.SerializeAsString());
    const absl::Status status = (*worker)->Wait().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(status.message(), ::testing::HasSubstr(c.says));
    run.membership(0)->AwaitOver();
  }
}

// ---- Greetings ----

absl::StatusOr<RoundResult> JoinAndDefine(const FakeRun& run) {
  auto worker = Worker::Join({.coordinator = run.address(), .name = "w"});
  if (!worker.ok()) return worker.status();
  std::vector<float> parameters(static_cast<size_t>(run.model().tensors[0].elements()));
  return (*worker)->Define(run.model(), {absl::MakeSpan(parameters)});
}

// Every frame comes after an ATTACH of its own generation.
void ExpectGreetingFirst(const std::vector<v1::Frame>& frames) {
  uint64_t generation = 0;
  for (const v1::Frame& frame : frames) {
    if (frame.header().kind() == v1::FrameHeader::ATTACH) generation = frame.header().generation();
    EXPECT_GT(generation, 0u) << "the first frame is no ATTACH";
    EXPECT_EQ(frame.header().generation(), generation);
  }
}

TEST(GreetingTest, Answer_ComesBeforeTheGreetingIsRead_IsTakenAndTheGreetingIsFirst) {
  for (int repetition = 0; repetition < 20; ++repetition) {
    FakeRun run({.eager = true});
    const auto held = JoinAndDefine(run);
    ASSERT_TRUE(held.ok()) << held.status();
    EXPECT_EQ(held->version, 0u);
    ExpectGreetingFirst(run.shard(0)->frames());
  }
}

TEST(GreetingTest, Announce_OvertakesTheGreeting_EachGenerationIsGreetedOnOneStream) {
  for (int repetition = 0; repetition < 20; ++repetition) {
    FakeRun run({.generations = {1, 2, 3}});
    std::vector<float> parameters(1000);  // lent until the call ends, here when the worker does
    auto worker = Worker::Join({.coordinator = run.address(), .name = "w"});
    ASSERT_TRUE(worker.ok()) << worker.status();
    ASSERT_TRUE((*worker)->Define(run.model(), {absl::MakeSpan(parameters)}).ok());
    ASSERT_TRUE(
        (*worker)->PushPullAsync({absl::MakeConstSpan(parameters)}, 1, {absl::MakeSpan(parameters)}, nullptr).ok());
    // A contribution to an older generation may come in between, and is sent again in the newest.
    const std::shared_ptr<FakeStream> stream = run.shard(0);
    const auto in_generation = [&](uint64_t generation, v1::FrameHeader::Kind kind) {
      const std::vector<v1::Frame> frames = stream->frames();
      return std::count_if(frames.begin(), frames.end(), [&](const v1::Frame& frame) {
        return frame.header().generation() == generation && frame.header().kind() == kind;
      });
    };
    for (size_t heard = 4; in_generation(3, v1::FrameHeader::CONTRIBUTION) == 0; ++heard) {
      ASSERT_TRUE(stream->AwaitHeard(heard));
    }
    ExpectGreetingFirst(stream->frames());
    for (uint64_t generation : {1, 2, 3}) EXPECT_EQ(in_generation(generation, v1::FrameHeader::ATTACH), 1);
    EXPECT_EQ((*worker)->generation(), 3u);
  }
}

TEST(GreetingTest, Stream_EndsAsSoonAsItBegins_WorkerConnectsAgainAndGreets) {
  FakeRun run({.hang_up = 5});
  const auto held = JoinAndDefine(run);
  ASSERT_TRUE(held.ok()) << held.status();
  const std::vector<v1::Frame> frames = run.shard(5)->frames();
  ASSERT_FALSE(frames.empty());
  ExpectGreetingFirst(frames);
  EXPECT_EQ(frames[0].header().attempt(), 6u);
}

}  // namespace
}  // namespace lockstep::testing
