#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire/channel.h"
#include "server/service/grpc_services.h"
#include "tests/testing/guest.h"
#include "tests/testing/messages.h"

namespace lockstep::service {
namespace {

using lockstep::testing::Guest;
using lockstep::testing::HelloMessage;
using ::testing::HasSubstr;

// A coordinator of two shards and one worker.
class CoordinatorServiceTest : public ::testing::Test {
 protected:
  CoordinatorServiceTest() {
    grpc::ServerBuilder builder;
    wire::ConfigureServer(builder);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }
  ~CoordinatorServiceTest() override { server_->Shutdown(); }

  std::shared_ptr<Guest> Serve(uint32_t shard, uint64_t incarnation) {
    auto guest = Guest::Call(address_, lockstep::testing::kServe);
    guest->Say(HelloMessage(shard, incarnation, ""));
    EXPECT_TRUE(guest->Hear<v1::ShardCommand>([](const v1::ShardCommand& command) { return command.has_welcome(); }));
    return guest;
  }

  CoordinatorDriver driver_{
      {.run_id = "run", .workers = 1, .shards = 2, .lease = absl::Hours(1)},
      {},
  };
  CoordinatorService service_{&driver_};
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST_F(CoordinatorServiceTest, Shard_GreetsAgainAsAnother_IsToldAndLeavesNoPlaceTaken) {
  for (const auto& [shard, incarnation] : {std::pair<uint32_t, uint64_t>{1, 11}, {0, 12}}) {
    const auto guest = Serve(0, 11);
    guest->Say(HelloMessage(shard, incarnation, ""));
    const absl::Status status = guest->AwaitEnd();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("this stream is that of shard 0, incarnation 11"));
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(absl::StrCat("shard ", shard, ", incarnation ", incarnation, " came")));
  }
  // Another process is welcome at once as the shard that the stream wanted to be, too.
  Serve(1, 13)->Cancel();
}

}  // namespace
}  // namespace lockstep::service
