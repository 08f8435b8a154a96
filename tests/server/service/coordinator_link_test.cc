#include "server/service/coordinator_link.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/wire/channel.h"
#include "common/wire/server_stream.h"

namespace lockstep::service {
namespace {

using ::testing::HasSubstr;

// Welcomes each shard to its run, or refuses it, and then ends the stream.
class BriefCoordinator final : public v1::Coordinator::CallbackService {
 public:
  explicit BriefCoordinator(bool welcomes) : welcomes_(welcomes) {}

  grpc::ServerBidiReactor<v1::ShardMessage, v1::ShardCommand>* Serve(grpc::CallbackServerContext*) override {
    return std::make_shared<Stream>(this)->Open();
  }
  int greetings() const { return greetings_; }
  void AwaitGreetings() { third_.WaitForNotification(); }

 private:
  class Stream : public wire::ServerStream<v1::ShardMessage, v1::ShardCommand> {
   public:
    explicit Stream(BriefCoordinator* owner) : owner_(owner) {}

   private:
    void OnMessage(v1::ShardMessage& message) override {
      if (!message.has_hello()) return;
      EXPECT_EQ(message.hello().attempt(), static_cast<uint64_t>(++owner_->greetings_));
      if (owner_->greetings_ == 3) owner_->third_.Notify();
      if (owner_->welcomes_) {
        v1::ShardCommand command;
        command.mutable_welcome()->set_run_id("run");
        Send(std::move(command));
      }
      Close({grpc::StatusCode::UNAVAILABLE, "no time"}, /*flush=*/true);
    }
    void OnClosed() override {}

    BriefCoordinator* const owner_;
  };

  const bool welcomes_;
  std::atomic<int> greetings_ = 0;
  absl::Notification third_;
};

class CoordinatorLinkTest : public ::testing::Test {
 protected:
  std::unique_ptr<grpc::Server> Start(BriefCoordinator& service) {
    grpc::ServerBuilder builder;
    wire::ConfigureServer(builder);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    auto server = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
    return server;
  }

  std::string address_;
  ShardDriver driver_{{.shard = ShardIndex(1), .self = Incarnation(3)}, [](v1::ShardMessage) {}};
};

TEST_F(CoordinatorLinkTest, Coordinator_LostForTooLong_EndsTheShardWithItsAddress) {
  BriefCoordinator coordinator(/*welcomes=*/true);
  const auto server = Start(coordinator);
  CoordinatorLink link(&driver_, ShardIndex(1), address_, "here", /*give_up_after=*/absl::ZeroDuration());
  const absl::Status status = link.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("no coordinator at ", address_, " for 0")));
  EXPECT_THAT(std::string(status.message()), HasSubstr("no time"));
  EXPECT_EQ(coordinator.greetings(), 1);
  EXPECT_EQ(driver_.run_id(), "run");
  server->Shutdown();
}

TEST_F(CoordinatorLinkTest, Coordinator_HeardOverAndOver_IsNotGivenUp) {
  BriefCoordinator coordinator(/*welcomes=*/true);
  const auto server = Start(coordinator);
  CoordinatorLink link(&driver_, ShardIndex(1), address_, "here", /*give_up_after=*/absl::InfiniteDuration());
  std::thread stopper([&] {
    coordinator.AwaitGreetings();
    link.Stop();
  });
  EXPECT_EQ(link.Run().code(), absl::StatusCode::kCancelled);
  stopper.join();
  server->Shutdown();
}

TEST_F(CoordinatorLinkTest, Shard_ThatServesNoRunYet_KeepsAsking) {
  BriefCoordinator coordinator(/*welcomes=*/false);
  const auto server = Start(coordinator);
  CoordinatorLink link(&driver_, ShardIndex(1), address_, "here", /*give_up_after=*/absl::ZeroDuration());
  std::thread stopper([&] {
    coordinator.AwaitGreetings();
    link.Stop();
  });
  EXPECT_EQ(link.Run().code(), absl::StatusCode::kCancelled) << "any start order works: it has nothing to give up";
  stopper.join();
  server->Shutdown();
}

}  // namespace
}  // namespace lockstep::service
