// Bad input to the coordinator's stream for shards: from strangers, and from a process that passes for a shard until
// the real one comes. See bad_input.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/random_id.h"
#include "common/wire/channel.h"
#include "proto/control.grpc.pb.h"
#include "tests/integration/bad_input.h"
#include "tests/testing/messages.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;

std::vector<Stranger> Strangers(const v1::Status& status) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kOther = absl::StatusCode::kAborted;
  const auto hello = [](uint32_t index, const std::string& run_id) {
    return std::vector<std::string>{HelloMessage(index, RandomId(), run_id).SerializeAsString()};
  };
  v1::ShardMessage report;
  report.mutable_report()->set_next_round(1000);
  return {
      {"report first", {report.SerializeAsString()}, kInvalid, {"expected ShardHello"}},
      {"no such shard", hello(9, ""), kInvalid, {"no shard 9", "shards 0 to 1"}},
      {"shard of another run", hello(1, "feedbeef"), kOther, {"feedbeef", status.run_id()}},
      {"shard 0 of another run", hello(0, "feedbeef"), kOther, {}},
  };
}

TEST_F(StrangerTest, Shard_SaysHelloWrongly_IsToldAndTheOthersTrainOn) {
  ExpectRefused(cluster().coordinator(), kServe, Strangers(before()));
  ExpectNobodyNoticed();
}

TEST_F(StrangerTest, Shard_SendsNoMessage_LosesItsStream) {
  const auto guest = Guest::Call(cluster().coordinator(), kServe);
  guest->Say(kNoMessage);
  EXPECT_NE(guest->AwaitEnd().code(), absl::StatusCode::kDeadlineExceeded);
  ExpectNobodyNoticed();
}

// One server of a run of two shards and one worker: a Cluster starts both at once.
class Server {
 public:
  Server(const std::string& folder, int index, const std::string& coordinator)
      : port_file_(absl::StrCat(folder, "/port-", index)) {
    std::vector<std::string> argv = {Program("server/lockstep-server"),
                                     absl::StrCat("--shard-index=", index),
                                     "--shards=2",
                                     "--workers=1",
                                     "--bind=127.0.0.1:0",
                                     absl::StrCat("--port-file=", port_file_),
                                     absl::StrCat("--data-dir=", folder, "/data-", index)};
    for (const std::string& flag : Flags()) argv.push_back(flag);
    if (!coordinator.empty()) argv.push_back(absl::StrCat("--coordinator=", coordinator));
    process_ = std::make_unique<Process>(std::move(argv), absl::StrCat(folder, "/log-", index));
  }
  // Empty if it does not listen within 30 s.
  std::string Address() {
    std::string line;
    for (int attempt = 0; attempt < 1500 && line.empty(); ++attempt) {
      absl::SleepFor(absl::Milliseconds(20));
      std::ifstream(port_file_) >> line;
    }
    return line;
  }
  int Wait() { return process_->Wait(); }

 private:
  const std::string port_file_;
  std::unique_ptr<Process> process_;
};

v1::Status StatusFrom(const std::string& address) {
  const auto control = v1::Control::NewStub(wire::ControlChannel(address));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::Status status;
  EXPECT_TRUE(control->GetStatus(&context, v1::StatusRequest(), &status).ok());
  return status;
}

template <typename Predicate>
bool AwaitStatus(const std::string& address, Predicate wanted) {
  for (int attempt = 0; attempt < 600; ++attempt) {
    if (wanted(StatusFrom(address))) return true;
    absl::SleepFor(absl::Milliseconds(50));
  }
  return false;
}

// Answers to seals that were never sent, and to installs before there was one.
void SayUnaskedAnswers(Guest& fake, uint64_t generation) {
  for (const uint64_t wrong : {uint64_t{0}, generation - 1, generation + 1, UINT64_MAX}) {
    v1::ShardMessage message;
    message.mutable_sealed()->set_generation(wrong);
    message.mutable_sealed()->set_next_round(1000);
    fake.Say(message);
    message.mutable_installed()->set_generation(wrong);
    message.mutable_installed()->set_error("nonsense");
    fake.Say(message);
  }
  v1::ShardMessage unasked;
  unasked.mutable_installed()->set_generation(generation);
  fake.Say(unasked);
  fake.Say(v1::ShardMessage());
}

// A report with ranks without their counts, and numbers without sense.
void SayNonsense(Guest& fake, uint64_t generation, uint64_t parameter_bytes) {
  v1::ShardMessage report;
  report.mutable_report()->set_generation(generation);
  report.mutable_report()->set_waiting_seconds(std::nan(""));
  report.mutable_report()->set_parameter_bytes(parameter_bytes);
  for (uint32_t rank = 0; rank < 1000; ++rank) report.mutable_report()->add_ranks(rank % 3);
  fake.Say(report);
}

TEST(FakeShardTest, Shard_AnswersWhatWasNotAsked_IsIgnoredAndTheRealOneServes) {
  const std::string folder = NewFolder("fake");
  Server zero(folder, 0, "");
  const std::string coordinator = zero.Address();
  ASSERT_FALSE(coordinator.empty());
  const auto fake = Guest::Call(coordinator, kServe);
  fake->Say(HelloMessage(1, RandomId(), ""));
  GoodWorkers good(coordinator, 1);
  const auto seal = fake->Hear<v1::ShardCommand>([](const v1::ShardCommand& command) { return command.has_seal(); });
  ASSERT_TRUE(seal.has_value());
  SayUnaskedAnswers(*fake, seal->seal().generation());
  SayNonsense(*fake, seal->seal().generation(), 12345);
  EXPECT_TRUE(AwaitStatus(coordinator, [](const v1::Status& status) {
    return status.shards(1).parameter_bytes() == 12345 && status.waiting_for_size() == 1;
  }));
  const v1::Status status = StatusFrom(coordinator);
  EXPECT_EQ(status.state(), v1::Status::CHANGING_GENERATION) << status.DebugString();
  EXPECT_EQ(status.waiting_for(0).shard_index(), 1u);
  EXPECT_THAT(status.waiting_for(0).reason(), HasSubstr("has not answered"));
  Server one(folder, 1, coordinator);  // the real one, and the run begins
  ExpectError(fake->AwaitEnd(), absl::StatusCode::kPermissionDenied, {"fenced", "newer process"});
  good.ExpectReference(1);
  EXPECT_EQ(zero.Wait(), 0);
  EXPECT_EQ(one.Wait(), 0);
}

}  // namespace
}  // namespace lockstep::testing
