#include "common/wire/channel.h"

#include <grpcpp/generic/generic_stub.h>
#include <stdlib.h>

#include <atomic>

#include "absl/time/time.h"

namespace lockstep::wire {
namespace {

constexpr int kMaxFrameBytes = (1 << 24) - 1;  // the largest that HTTP/2 has
// Of a stream: flow control never waits for a window update on the path of a round.
constexpr int kLookAheadBytes = 64 << 20;
constexpr int kReadChunkBytes = 4 << 20;
constexpr absl::Duration kKeepaliveTime = absl::Seconds(5);
constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(5);
// One attempt to connect may take this long, so that it succeeds on a slow link or a loaded machine, too. A refused one
// has failed at once, and the next begins after the backoff.
constexpr absl::Duration kConnectTimeout = absl::Seconds(5);
// A pod that is back has another address under the same name.
constexpr absl::Duration kResolveAgainAfter = absl::Seconds(1);
constexpr absl::Duration kResolveTimeout = absl::Seconds(5);
constexpr absl::Duration kReconnectBackoff = absl::Milliseconds(100);
constexpr absl::Duration kMaxReconnectBackoff = absl::Seconds(1);

int Milliseconds(absl::Duration duration) { return static_cast<int>(absl::ToInt64Milliseconds(duration)); }

// What both ends of every connection have in common. `set` takes the name of an argument and its value.
void SetForAll(const auto& set) {
  set(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kKeepaliveTime));
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kKeepaliveTimeout));
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
}

// What both ends of a data stream have besides.
void SetForData(const auto& set) {
  set(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kMaxFrameBytes);
  set(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookAheadBytes);
  set(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  set(GRPC_ARG_TCP_READ_CHUNK_SIZE, kReadChunkBytes);
  set(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kReadChunkBytes);
}

grpc::ChannelArguments CommonArguments() {
  grpc::ChannelArguments arguments;
  SetForAll([&](const char* name, int value) { arguments.SetInt(name, value); });
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, Milliseconds(kReconnectBackoff));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, Milliseconds(kConnectTimeout));  // despite its name
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, Milliseconds(kMaxReconnectBackoff));
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, Milliseconds(kResolveAgainAfter));
  arguments.SetInt(GRPC_ARG_DNS_ARES_QUERY_TIMEOUT_MS, Milliseconds(kResolveTimeout));
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // an address means that server, whatever http_proxy says
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return arguments;
}

// gRPC 1.51 frees the queue behind its callbacks twice when the last channel that uses it goes and another comes at the
// same moment. So one that is never used keeps the queue for the life of the process: its only call has expired before
// it starts.
void HoldCallbackQueue() {
  struct Held {
    std::shared_ptr<grpc::Channel> channel =
        grpc::CreateChannel("ipv4:127.0.0.1:9", grpc::InsecureChannelCredentials());
    grpc::GenericStub stub{channel};
    grpc::ClientContext context;
    grpc::Slice nothing;
    grpc::ByteBuffer request{&nothing, 1};
    grpc::ByteBuffer response;
  };
  static std::atomic<Held*> held = [] {
    auto* hold = new Held;
    hold->context.set_deadline(std::chrono::system_clock::now() - std::chrono::hours(1));
    hold->stub.UnaryCall(&hold->context, "/lockstep.v1.Control/GetHealth", {}, &hold->request, &hold->response,
                         [](const grpc::Status&) {});
    return hold;
  }();
  held.load();  // what is never read may be optimized away, and what it points to be taken for a leak
}

}  // namespace

void AskForNamesAgainSoon() { setenv("RES_OPTIONS", "retrans:900", /*overwrite=*/0); }

std::shared_ptr<grpc::Channel> ControlChannel(const std::string& address) {
  HoldCallbackQueue();
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), CommonArguments());
}

std::shared_ptr<grpc::Channel> DataChannel(const std::string& address) {
  HoldCallbackQueue();
  grpc::ChannelArguments arguments = CommonArguments();
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  SetForData([&](const char* name, int value) { arguments.SetInt(name, value); });
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void ConfigureServer(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  const auto set = [&](const char* name, int value) { builder.AddChannelArgument(name, value); };
  SetForAll(set);
  SetForData(set);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace lockstep::wire
