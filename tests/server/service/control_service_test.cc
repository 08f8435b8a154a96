#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "common/mutex.h"
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
class Coordinator final : public v1::Control::CallbackService {
 public:
  explicit Coordinator(const std::string& address) {
    grpc::ServerBuilder builder;
    wire::ConfigureServer(builder);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Coordinator() override { server_->Shutdown(std::chrono::system_clock::now()); }

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context, const v1::StatusRequest*,
                                      v1::Status*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    MarkAnswered(*context);
    MutexLock lock(&mutex_);
    blocked_ ? waiting_.push_back(reactor) : reactor->Finish(answer_);
    return reactor;
  }
  void Answer(const grpc::Status& status) {
    MutexLock lock(&mutex_);
    answer_ = status;
  }
  // From now on nobody gets an answer.
  void Block() {
    MutexLock lock(&mutex_);
    blocked_ = true;
  }
  // Whoever waits gets one: gRPC ends no call by itself.
  void Unblock() {
    MutexLock lock(&mutex_);
    for (grpc::ServerUnaryReactor* reactor : waiting_) reactor->Finish(answer_);
    waiting_.clear();
  }

 private:
  Mutex mutex_;
  grpc::Status answer_ ABSL_GUARDED_BY(mutex_);
  bool blocked_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<grpc::ServerUnaryReactor*> waiting_ ABSL_GUARDED_BY(mutex_);
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
  // Whether shard 1 finds the coordinator. Not always at once: an attempt to connect, or the call before, may be
  // ending.
  bool IsFoundAgain() const {
    for (int attempt = 0; attempt < 5; ++attempt) {
      if (Status(Address(1)).ok()) return true;
    }
    return false;
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
  EXPECT_TRUE(IsFoundAgain());
}

// Nobody answers in time: what is reached has stopped, or is another machine now.
TEST_F(ControlServiceTest, Coordinator_ThatDoesNotAnswer_IsLookedForAnew) {
  auto stopped = std::make_unique<Coordinator>(Address(0));
  const Shard one(Address(1), Address(0), 1);
  ASSERT_TRUE(Status(Address(1)).ok());
  stopped->Block();
  ASSERT_EQ(unlink((folder_ + "/0").c_str()), 0);
  const Coordinator another(Address(0));
  EXPECT_EQ(Status(Address(1)).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(IsFoundAgain());
  stopped->Unblock();
}

// It is an answer, and not a way that is closed.
TEST_F(ControlServiceTest, Coordinator_ThatIsUnavailable_IsQuotedAsItIs) {
  Coordinator coordinator(Address(0));
  coordinator.Answer(grpc::Status(grpc::StatusCode::UNAVAILABLE, "not now"));
  const Shard one(Address(1), Address(0), 1);
  const grpc::Status status = Status(Address(1));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "not now");
}

}  // namespace
}  // namespace lockstep::service
