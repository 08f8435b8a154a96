#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/wire/channel.h"
#include "server/service/forwarding.h"
#include "server/service/grpc_services.h"

namespace lockstep::service {
namespace {

using ::testing::HasSubstr;

// The control service of a shard that is not 0, on a socket whose address is known before it listens.
class Shard {
 public:
  Shard(const std::string& address, const std::string& coordinator, uint32_t index)
      : driver_({.shard = ShardIndex(index), .self = Incarnation(index)}, [](v1::ShardMessage) {}),
        control_(nullptr, &driver_, std::make_shared<KeptChannel>(coordinator), &health_) {
    grpc::ServerBuilder builder;
    wire::ConfigureServer(builder);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterService(&control_);
    server_ = builder.BuildAndStart();
  }
  ~Shard() { server_->Shutdown(); }

 private:
  ShardDriver driver_;
  ProcessHealth health_;
  ControlService control_;
  std::unique_ptr<grpc::Server> server_;
};

// Stands for the coordinator's process.
class Coordinator final : public v1::Control::Service {
 public:
  explicit Coordinator(const std::string& address) {
    grpc::ServerBuilder builder;
    wire::ConfigureServer(builder);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Coordinator() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status GetStatus(grpc::ServerContext*, const v1::StatusRequest*, v1::Status*) override {
    return grpc::Status::OK;
  }

 private:
  std::unique_ptr<grpc::Server> server_;
};

class ControlServiceTest : public ::testing::Test {
 protected:
  ControlServiceTest() {
    std::string folder = "/tmp/control-XXXXXX";  // short: a socket's path has at most 107 characters
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  ~ControlServiceTest() override { rmdir(folder_.c_str()); }

  std::string Address(uint32_t index) const { return absl::StrCat("unix:", folder_, "/", index); }
  grpc::Status Status(const std::string& address) const {
    grpc::ClientContext context;
    v1::Status reply;
    return Ask(address)->GetStatus(&context, v1::StatusRequest(), &reply);
  }
  grpc::Status Evict(const std::string& address) const {
    grpc::ClientContext context;
    v1::EvictReply reply;
    return Ask(address)->Evict(&context, v1::EvictRequest(), &reply);
  }
  static std::unique_ptr<v1::Control::Stub> Ask(const std::string& address) {
    return v1::Control::NewStub(wire::ControlChannel(address));
  }

  std::string folder_;
};

void ExpectCircle(const grpc::Status& status) {
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("check their --coordinator flags"));
}

TEST_F(ControlServiceTest, Shards_ThatTakeEachOtherForTheCoordinator_SayWhatToCheck) {
  const Shard one(Address(1), Address(2), 1);
  const Shard two(Address(2), Address(1), 2);
  ExpectCircle(Status(Address(1)));
  ExpectCircle(Evict(Address(2)));
}

TEST_F(ControlServiceTest, Shard_ThatTakesItselfForTheCoordinator_SaysWhatToCheck) {
  const Shard one(Address(1), Address(1), 1);
  ExpectCircle(Status(Address(1)));
}

TEST_F(ControlServiceTest, Coordinator_ThatIsNotThere_IsNamed) {
  const Shard one(Address(1), Address(9), 1);
  const grpc::Status status = Status(Address(1));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(),
              HasSubstr(absl::StrCat("this shard is up, but cannot reach the coordinator at ", Address(9))));
}

// A name that leads nowhere for a while stands for an answer of the name service that is lost: it takes longer to come
// again than a call may take.
TEST_F(ControlServiceTest, Shard_ThatIsConnectedToTheCoordinator_NeedsItsNameNoMore) {
  const Coordinator coordinator(Address(0));
  const Shard one(Address(1), Address(0), 1);
  ASSERT_TRUE(Status(Address(1)).ok());
  ASSERT_EQ(unlink((folder_ + "/0").c_str()), 0);
  const grpc::Status status = Status(Address(1));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(ControlServiceTest, Coordinator_ThatIsBack_IsFoundAgain) {
  auto coordinator = std::make_unique<Coordinator>(Address(0));
  const Shard one(Address(1), Address(0), 1);
  ASSERT_TRUE(Status(Address(1)).ok());
  coordinator = nullptr;
  EXPECT_EQ(Status(Address(1)).error_code(), grpc::StatusCode::UNAVAILABLE);
  coordinator = std::make_unique<Coordinator>(Address(0));
  // An attempt to connect may have been under way.
  const bool found = Status(Address(1)).ok() || Status(Address(1)).ok();
  EXPECT_TRUE(found);
}

TEST_F(ControlServiceTest, KeptChannel_IsGivenUp_WhenItIsConnectedAndSilent) {
  const Coordinator coordinator(Address(0));
  KeptChannel kept(Address(0));
  const std::shared_ptr<grpc::Channel> channel = kept.Get();
  ASSERT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(60)));
  kept.Ended(channel, grpc::Status::OK);
  kept.Ended(channel, grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "no"));
  EXPECT_EQ(kept.Get(), channel);
  kept.Ended(channel, grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "silent"));
  const std::shared_ptr<grpc::Channel> another = kept.Get();
  EXPECT_NE(another, channel);
  kept.Ended(channel, grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "silent"));  // another call of the old one
  EXPECT_EQ(kept.Get(), another);
}

}  // namespace
}  // namespace lockstep::service
