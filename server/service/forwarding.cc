#include "server/service/forwarding.h"

#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire/channel.h"
#include "common/wire/status.h"

namespace lockstep::service {
namespace {

constexpr char kMark[] = "lockstep-forwarded";  // metadata, with one of these values
constexpr char kMarkCoordinator[] = "coordinator";
constexpr char kMarkShard[] = "shard";
constexpr char kPullMethod[] = "/lockstep.v1.Shard/Pull";

// A frame is read from the shard, then written to the reader, then the next one is read: never both at once, so that no
// lock is needed. The hold on the call to the shard is let go when no more is read; only then does it end, and with it
// the reader's call.
class PullRelay {
 public:
  PullRelay(grpc::CallbackServerContext* context, const grpc::ByteBuffer& request, PassedOn to, std::string whom,
            std::shared_ptr<KeptChannel> kept)
      : context_(context), request_(request), to_(to), whom_(std::move(whom)), kept_(std::move(kept)) {}

  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(std::shared_ptr<PullRelay> relay) {
    relay->reader_.self = relay;
    relay->shard_.self = relay;
    relay->Begin();
    return &relay->reader_;
  }

 private:
  // The reader's call, which comes in.
  struct ReaderSide final : grpc::ServerWriteReactor<grpc::ByteBuffer> {
    explicit ReaderSide(PullRelay* relay) : relay(relay) {}
    void OnWriteDone(bool ok) override { relay->OnWritten(ok); }
    void OnCancel() override { relay->onward_.TryCancel(); }
    void OnDone() override { std::exchange(self, nullptr).reset(); }
    PullRelay* const relay;
    std::shared_ptr<PullRelay> self;
  };
  // The call to the shard, which goes out.
  struct ShardSide final : grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
    explicit ShardSide(PullRelay* relay) : relay(relay) {}
    void OnReadDone(bool ok) override { relay->OnRead(ok); }
    void OnDone(const grpc::Status& status) override {
      relay->OnEnd(status);
      std::exchange(self, nullptr).reset();
    }
    PullRelay* const relay;
    std::shared_ptr<PullRelay> self;
  };

  void Begin() {
    MarkPassedOn(onward_, to_);
    onward_.set_deadline(context_->deadline());
    stub_.PrepareBidiStreamingCall(&onward_, kPullMethod, {}, &shard_);
    shard_.AddHold();
    shard_.StartWriteLast(&request_, {});
    shard_.StartRead(&frame_);
    shard_.StartCall();
  }
  void OnRead(bool ok) {
    if (!ok) return shard_.RemoveHold();
    reader_.StartWrite(&frame_);
  }
  void OnWritten(bool ok) {
    if (ok) return shard_.StartRead(&frame_);
    onward_.TryCancel();
    shard_.RemoveHold();
  }
  void OnEnd(const grpc::Status& status) {
    const auto& trailers = onward_.GetServerTrailingMetadata();
    if (const auto newest = trailers.find(wire::kNewestVersionTrailer); newest != trailers.end()) {
      context_->AddTrailingMetadata(wire::kNewestVersionTrailer,
                                    std::string(newest->second.data(), newest->second.size()));
    }
    kept_->Ended(channel_, status);
    reader_.Finish(FromFarther(status, whom_, kept_->address()));
  }

  grpc::CallbackServerContext* const context_;
  const grpc::ByteBuffer request_;
  const PassedOn to_;
  const std::string whom_;
  const std::shared_ptr<KeptChannel> kept_;
  const std::shared_ptr<grpc::Channel> channel_ = kept_->Get();
  grpc::GenericStub stub_{channel_};
  grpc::ClientContext onward_;
  grpc::ByteBuffer frame_;
  ReaderSide reader_{this};
  ShardSide shard_{this};
};

}  // namespace

KeptChannel::KeptChannel(std::string address) : address_(std::move(address)) { Get(); }

std::shared_ptr<grpc::Channel> KeptChannel::Get() {
  MutexLock lock(&mutex_);
  if (channel_ != nullptr) {
    const grpc_connectivity_state state = channel_->GetState(/*try_to_connect=*/false);
    if (state == GRPC_CHANNEL_READY || state == GRPC_CHANNEL_CONNECTING) return channel_;
  }
  channel_ = wire::ControlChannel(address_);
  channel_->GetState(/*try_to_connect=*/true);
  return channel_;
}

void KeptChannel::Ended(const std::shared_ptr<grpc::Channel>& channel, const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED) return;
  if (channel->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_READY) return;
  MutexLock lock(&mutex_);
  if (channel_ == channel) channel_ = nullptr;
}

PassedOn WasPassedOn(const grpc::CallbackServerContext& context) {
  const auto mark = context.client_metadata().find(kMark);
  if (mark == context.client_metadata().end()) return PassedOn::kNot;
  return mark->second == kMarkShard ? PassedOn::kToShard : PassedOn::kToCoordinator;
}

void MarkPassedOn(grpc::ClientContext& context, PassedOn to) {
  context.AddMetadata(kMark, to == PassedOn::kToShard ? kMarkShard : kMarkCoordinator);
}

grpc::Status NotTheCoordinator() {
  return {grpc::StatusCode::FAILED_PRECONDITION,
          "a shard passed this question on to another shard that is not 0: check their --coordinator flags"};
}

grpc::Status AnotherShard(uint32_t asked, uint32_t own) {
  return {
      grpc::StatusCode::FAILED_PRECONDITION,
      absl::StrCat("a question for shard ", asked, " was passed on to the address that it gives as its own, but shard ",
                   own, " is there: check the --advertise flag of shard ", asked)};
}

grpc::Status FromFarther(const grpc::Status& status, const std::string& whom, const std::string& address) {
  const bool unreachable = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                           status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (!unreachable) return status;
  return {grpc::StatusCode::UNAVAILABLE,
          absl::StrCat("this shard is up, but cannot reach ", whom, " at ", address, ": ", status.error_message())};
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* RelayPull(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer& request, PassedOn to,
                                                      const std::string& whom, std::shared_ptr<KeptChannel> kept) {
  return PullRelay::Start(std::make_shared<PullRelay>(context, request, to, whom, std::move(kept)));
}

}  // namespace lockstep::service
