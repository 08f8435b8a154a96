// Channels that come and go at the same moment, and peers that keep a connection waiting.
#include "common/wire/channel.h"

#include <arpa/inet.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server_posix.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/mutex.h"

namespace lockstep::wire {
namespace {

// gRPC 1.51 frees the queue behind its callbacks twice when the last channel that uses it goes while another comes;
// wire/channel.cc holds one for the life of the process.

// A channel with one call that ends by itself; whoever is called back lets go of the channel, as the streams do.
struct Visitor {
  static void ComeAndGo() {
    absl::Notification gone;
    auto* const visitor = new Visitor;
    visitor->context.set_deadline(std::chrono::system_clock::now() - std::chrono::hours(1));
    visitor->stub.UnaryCall(&visitor->context, "/test/Call", {}, &visitor->request, &visitor->response,
                            [visitor, &gone](const grpc::Status&) {
                              delete visitor;
                              gone.Notify();
                            });
    gone.WaitForNotification();
  }

  grpc::GenericStub stub{ControlChannel("127.0.0.1:9")};
  grpc::ClientContext context;
  grpc::Slice nothing;
  grpc::ByteBuffer request{&nothing, 1};
  grpc::ByteBuffer response;
};

TEST(ChannelTest, Channels_ComeAndGoInManyThreads_ProcessLives) {
  constexpr int kThreads = 4;
  constexpr int kEach = 6000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < kEach; ++i) Visitor::ComeAndGo();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A port at which connections are refused until Listen, and get no answer until Accept.
class LatePeer {
 public:
  LatePeer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(place);
    auto* const address = reinterpret_cast<sockaddr*>(&place);
    EXPECT_EQ(bind(listener_, address, size), 0);
    EXPECT_EQ(getsockname(listener_, address, &size), 0);
    address_ = absl::StrCat("127.0.0.1:", ntohs(place.sin_port));
    grpc::ServerBuilder builder;
    ConfigureServer(builder);
    builder.RegisterCallbackGenericService(&service_);  // knows no method
    server_ = builder.BuildAndStart();
  }
  ~LatePeer() {
    server_->Shutdown(absl::ToChronoTime(absl::Now()));
    close(listener_);
  }

  const std::string& address() const { return address_; }
  void Listen() { EXPECT_EQ(listen(listener_, 8), 0); }
  // The first connection gets a server.
  void Accept() {
    const int connection = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ASSERT_GE(connection, 0);
    grpc::AddInsecureChannelFromFd(server_.get(), connection);
  }

 private:
  const int listener_;
  std::string address_;
  grpc::CallbackGenericService service_;
  std::unique_ptr<grpc::Server> server_;
};

// What a call to the peer ends with; UNIMPLEMENTED when it has got there.
class PeerCall {
 public:
  PeerCall(const std::shared_ptr<grpc::Channel>& channel, bool wait_for_ready) : stub_(channel) {
    context_.set_wait_for_ready(wait_for_ready);
    stub_.UnaryCall(&context_, "/test/Call", {}, &request_, &response_, [this](const grpc::Status& status) {
      status_ = status;
      TsanReleaseToGrpc();
      over_.Notify();
    });
  }
  grpc::Status Await() {
    over_.WaitForNotification();
    TsanAcquireFromGrpc();
    return status_;
  }

 private:
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::Slice nothing_;
  grpc::ByteBuffer request_{&nothing_, 1};
  grpc::ByteBuffer response_;
  grpc::Status status_;
  absl::Notification over_;
};

TEST(ChannelTest, Peer_KeepsAConnectionWaiting_IsWaitedFor) {
  for (const auto& make : {ControlChannel, DataChannel}) {
    LatePeer peer;
    peer.Listen();
    PeerCall call(make(peer.address()), /*wait_for_ready=*/false);  // would end with the first attempt that fails
    absl::SleepFor(absl::Milliseconds(300));                        // of 5 s that an attempt may take
    peer.Accept();
    const grpc::Status status = call.Await();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  }
}

TEST(ChannelTest, Peer_RefusesAtFirst_IsTriedAgain) {
  for (const auto& make : {ControlChannel, DataChannel}) {
    LatePeer peer;
    const std::shared_ptr<grpc::Channel> channel = make(peer.address());
    PeerCall call(channel, /*wait_for_ready=*/true);
    while (channel->GetState(false) != GRPC_CHANNEL_TRANSIENT_FAILURE) absl::SleepFor(absl::Milliseconds(1));
    peer.Listen();
    const absl::Time refused = absl::Now();
    peer.Accept();
    RecordProperty("milliseconds until the next attempt",
                   absl::StrCat(absl::ToInt64Milliseconds(absl::Now() - refused)));
    const grpc::Status status = call.Await();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  }
}

}  // namespace
}  // namespace lockstep::wire
