// Wrong calls of the worker library: the caller is told, and can go on. See bad_input.h.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/bad_input.h"
#include "worker/client/worker.h"

namespace lockstep::testing {
namespace {

TEST(JoinTest, Run_Other_IsAbortedWithBothIds) {
  Cluster cluster({.shards = 1, .workers = 1, .flags = {}});
  const auto worker = Worker::Join(
      {.coordinator = cluster.coordinator(), .name = "w", .run_id = "feedbeef", .timeout = absl::Seconds(20)});
  ExpectError(worker.status(), absl::StatusCode::kAborted, {"feedbeef", cluster.Status().run_id()});
}

TEST(JoinTest, Rank_OutOfRange_IsInvalid) {
  Cluster cluster({.shards = 1, .workers = 1, .flags = {}});
  const auto worker =
      Worker::Join({.coordinator = cluster.coordinator(), .name = "w", .rank = Rank(3), .timeout = absl::Seconds(20)});
  ExpectError(worker.status(), absl::StatusCode::kInvalidArgument, {"rank 3", "ranks 0 to 0"});
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kOrder = absl::StatusCode::kFailedPrecondition;

// Worker 0 of a run of two rounds. The other worker contributes when it is let go.
class CallTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto joined = Worker::Join(
        {.coordinator = cluster_.coordinator(), .name = "a", .rank = Rank(0), .timeout = absl::Seconds(20)});
    ASSERT_TRUE(joined.ok()) << joined.status();
    worker_ = *std::move(joined);
    other_ = std::thread([this] {
      TrainOptions options{.coordinator = cluster_.coordinator(), .name = "b", .rounds = 2};
      options.before = [this](Worker&, uint64_t) {
        while (!go_) absl::SleepFor(absl::Milliseconds(5));
        return true;
      };
      other_status_ = Train(tiny_, options, other_values_);
    });
  }
  void TearDown() override {
    go_ = true;
    worker_.reset();
    if (other_.joinable()) other_.join();
  }

  Worker& worker() { return *worker_; }
  absl::Status Define(Tiny::Values& values) {
    return worker_->Define(tiny_.model(), Spans(values), absl::Seconds(60)).status();
  }
  absl::Status Push(const Tiny::Values& gradient, float weight, Tiny::Values& into) {
    return worker_->PushPull(ConstSpans(gradient), weight, Spans(into), absl::Seconds(60)).status();
  }
  void LetGo() { go_ = true; }
  // Pushes for `round` to the last, and leaves: all hold the reference, whatever was called before.
  void ExpectGoesOnFrom(uint64_t round) {
    LetGo();
    for (; round <= 2; ++round) {
      const absl::Status pushed = Push(tiny_.Gradient(0, round, values_), 1, values_);
      ASSERT_TRUE(pushed.ok()) << pushed;
    }
    EXPECT_TRUE(worker_->Leave().ok());
    other_.join();
    EXPECT_TRUE(other_status_.ok()) << other_status_;
    const Tiny::Values expected = tiny_.Reference(2, 2, kLr, [](uint32_t, uint64_t) { return 1.0f; });
    EXPECT_TRUE(values_ == expected);
    EXPECT_TRUE(other_values_ == expected);
    ExpectAllEnd(cluster_);
  }

  const Tiny tiny_;
  Tiny::Values values_ = tiny_.Initial();

 private:
  Cluster cluster_{{.shards = 2, .workers = 2, .flags = {absl::StrCat("--lr=", kLr)}}};
  std::unique_ptr<Worker> worker_;
  std::atomic<bool> go_ = false;
  std::thread other_;
  absl::Status other_status_;
  Tiny::Values other_values_;
};

TEST_F(CallTest, Worker_CallsBeforeItsTime_IsToldAndGoesOn) {
  const Tiny::Values gradient = values_;
  ExpectError(Push(gradient, 1, values_), kOrder, {"Define the model first"});
  ExpectError(worker().Wait(absl::Seconds(1)).status(), kOrder, {"no call is under way"});
  ASSERT_TRUE(Define(values_).ok());
  ExpectError(Define(values_), kOrder, {"defined its model"});
  ExpectGoesOnFrom(1);
  ExpectError(Push(gradient, 1, values_), kOrder, {"left"});
}

TEST_F(CallTest, Define_WithAModelThatDoesNotFit_IsToldAndGoesOn) {
  ExpectError(worker().Define({}, {}, absl::Seconds(1)).status(), kInvalid, {"no tensors"});
  Tiny::Values shorter = values_;
  shorter[2].pop_back();
  ExpectError(Define(shorter), kInvalid, {"tensor-2", "expected 40000", "got 39999"});
  ASSERT_TRUE(Define(values_).ok());
  ExpectGoesOnFrom(1);
}

TEST_F(CallTest, PushPull_WithWrongArguments_IsToldAndGoesOn) {
  ASSERT_TRUE(Define(values_).ok());
  const Tiny::Values gradient = tiny_.Gradient(0, 1, values_);
  Tiny::Values longer = gradient;
  longer[1].push_back(0);
  const Tiny::Values fewer(gradient.begin(), gradient.end() - 1);
  ExpectError(Push(longer, 1, values_), kInvalid, {"gradients", "tensor-1", "expected 7", "got 8"});
  ExpectError(Push(gradient, 1, longer), kInvalid, {"parameters", "tensor-1", "expected 7", "got 8"});
  ExpectError(Push(fewer, 1, values_), kInvalid, {"gradients", "expected 4 arrays", "got 3"});
  ExpectError(Push(gradient, std::nanf(""), values_), kInvalid, {"weight", "nan"});
  ExpectError(Push(gradient, -1, values_), kInvalid, {"weight", "-1"});
  ExpectError(Push(gradient, INFINITY, values_), kInvalid, {"weight", "inf"});
  ExpectGoesOnFrom(1);
}

TEST_F(CallTest, Worker_CallsWhileACallIsUnderWay_IsToldAndTheCallEnds) {
  ASSERT_TRUE(Define(values_).ok());
  const Tiny::Values gradient = tiny_.Gradient(0, 1, values_);
  std::atomic<int> called = 0;
  EXPECT_TRUE(worker().PushPullAsync(ConstSpans(gradient), 1, Spans(values_), [&](auto) { ++called; }).ok());
  Tiny::Values elsewhere = gradient;
  ExpectError(Push(gradient, 1, elsewhere), kOrder, {"a call is under way"});
  ExpectError(worker().Leave(absl::Seconds(1)), kOrder, {"a call is under way"});
  ExpectError(worker().Wait(absl::Milliseconds(50)).status(), absl::StatusCode::kDeadlineExceeded, {"round 1"});
  LetGo();
  for (int attempt = 0; attempt < 3000 && called == 0; ++attempt) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(called, 1);
  ExpectGoesOnFrom(2);
}

}  // namespace
}  // namespace lockstep::testing
