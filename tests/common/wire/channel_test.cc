// Channels that come and go at the same moment. gRPC 1.51 frees the queue behind its callbacks twice when the last
// channel that uses it goes while another comes; wire/channel.cc holds one for the life of the process.
#include "common/wire/channel.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"

namespace lockstep::wire {
namespace {

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

}  // namespace
}  // namespace lockstep::wire
