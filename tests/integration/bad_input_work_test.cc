// Bad input to the coordinator's stream for workers. See bad_input.h.
#include <gtest/gtest.h>

#include <functional>

#include "common/convert.h"
#include "common/random_id.h"
#include "tests/integration/bad_input.h"
#include "tests/testing/messages.h"
#include "worker/client/worker.h"

namespace lockstep::testing {
namespace {

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;

std::vector<Stranger> Strangers(const v1::Status& status) {
  const auto say = [](auto change) {
    v1::WorkerMessage message;
    change(message);
    return std::vector<std::string>{message.SerializeAsString()};
  };
  const auto join = [&](const std::string& name, auto change) {
    return say([&](auto& message) {
      message = JoinMessage(name, RandomId());
      change(*message.mutable_join());
    });
  };
  const auto heartbeat = say([](auto& message) { message.mutable_heartbeat(); });
  const auto leave = say([](auto& message) { message.mutable_leave(); });
  const auto define = say([](auto& message) { message = DefineMessage(v1::ModelSpec()); });
  const auto far = join("far", [](auto& join) { join.set_rank(9); });
  const auto held = join("held", [](auto& join) { join.set_rank(1); });
  const auto foreign = join("foreign", [](auto& join) { join.set_run_id("feedbeef"); });
  const auto surplus = join("surplus", [](auto&) {});
  return {
      {"heartbeat first", heartbeat, kInvalid, {"expected Join"}},
      {"leave first", leave, kInvalid, {"expected Join"}},
      {"define first", define, kInvalid, {"expected Join"}},
      {"no such rank", far, kInvalid, {"rank 9", "ranks 0 to 1"}},
      {"held rank", held, kExhausted, {"rank 1", "good-"}},
      {"another run", foreign, absl::StatusCode::kAborted, {"feedbeef", status.run_id()}},
      {"no place", surplus, kExhausted, {"all 2 ranks", "surplus"}},
  };
}

TEST_F(StrangerTest, Worker_JoinsWrongly_IsToldAndTheOthersTrainOn) {
  ExpectRefused(cluster().coordinator(), kWork, Strangers(before()));
  ExpectNobodyNoticed();
}

TEST_F(StrangerTest, Worker_SendsNoMessage_LosesItsStream) {
  const auto guest = Guest::Call(cluster().coordinator(), kWork);
  guest->Say(kNoMessage);
  EXPECT_NE(guest->AwaitEnd().code(), absl::StatusCode::kDeadlineExceeded);
  ExpectNobodyNoticed();
}

struct BadModel {
  std::string name;
  std::function<void(v1::ModelSpec&)> spoil;  // the model of the run
  std::vector<std::string> words;
};

std::vector<BadModel> BadModels() {
  const auto shape = [](int tensor, int64_t size) {
    return [=](v1::ModelSpec& model) { model.mutable_tensors(tensor)->set_shape(0, size); };
  };
  const auto fewer = [](v1::ModelSpec& model) { model.mutable_tensors()->RemoveLast(); };
  const auto dtype = [](v1::ModelSpec& model) { model.mutable_tensors(1)->set_dtype(static_cast<v1::DType>(9)); };
  const auto none = [](v1::ModelSpec& model) { model.clear_tensors(); };
  const auto huge = [](v1::ModelSpec& model) {
    model.mutable_tensors(0)->set_shape(0, int64_t{1} << 40);
    model.mutable_tensors(0)->add_shape(int64_t{1} << 40);
  };
  return {
      {"another size", shape(2, 39999), {"tensor 2", "tensor-2 float32[40000]", "tensor-2 float32[39999]"}},
      {"a tensor less", fewer, {"4 tensors", "has 3", "tensor-3"}},
      {"another dtype", dtype, {"'tensor-1'", "float32", "9"}},
      {"no tensors", none, {"no tensors"}},
      {"too many elements", huge, {"tensor-0", "1099511627776 elements"}},
      {"negative size", shape(0, -1), {"tensor-0 float32[-1]", "positive"}},
  };
}

// A run of three, of whom the guest is the third.
class MemberTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(AwaitActive(cluster_, 2)) << cluster_.Status().DebugString(); }
  void ExpectPlaceTaken() {
    for (uint32_t s = 0; s < 2; ++s) EXPECT_EQ(cluster_.shard(s).Poll(), -1) << "shard " << s << " has ended";
    good_.Hurry();
    ExpectGuestTrainsToTheEnd(cluster_, good_.tiny());
  }
  void ExpectRunEnds() {
    good_.ExpectReference(3);
    ExpectAllEnd(cluster_);
  }

  Cluster cluster_{{.shards = 2, .workers = 3, .flags = Flags()}};
  GoodWorkers good_{cluster_.coordinator(), 2};
};

TEST_F(MemberTest, Model_OtherThanTheRuns_IsRefusedAndItsPlaceTaken) {
  for (const BadModel& bad : BadModels()) {
    SCOPED_TRACE(bad.name);
    v1::ModelSpec model = ToProto(good_.tiny().model());
    bad.spoil(model);
    const auto guest = Guest::Call(cluster_.coordinator(), kWork);
    guest->Say(JoinMessage("guest", RandomId()));
    guest->Say(DefineMessage(model));
    ExpectError(guest->AwaitEnd(), kInvalid, bad.words);
  }
  auto worker = Worker::Join({.coordinator = cluster_.coordinator(), .name = "guest", .timeout = absl::Seconds(20)});
  ASSERT_TRUE(worker.ok()) << worker.status();
  const Tiny other({1000, 8, 40000, 1});
  Tiny::Values values = other.Initial();
  ExpectError((*worker)->Define(other.model(), Spans(values), absl::Seconds(20)).status(), kInvalid,
              {"tensor 1", "float32[7]", "float32[8]"});
  ExpectPlaceTaken();
  ExpectRunEnds();
}

TEST_F(MemberTest, Member_ItsPlaceTakenByAnother_IsToldThatItIsFenced) {
  Member fenced;
  ASSERT_NO_FATAL_FAILURE(Enter(cluster_, good_.tiny().model(), fenced));
  ExpectPlaceTaken();
  ExpectError(fenced.membership->AwaitEnd(), absl::StatusCode::kPermissionDenied, {"fenced", "guest", "rank 2"});
  ExpectRunEnds();
}

}  // namespace
}  // namespace lockstep::testing
