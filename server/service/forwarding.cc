#include "server/service/forwarding.h"

#include <grpcpp/generic/generic_stub.h>

#include <chrono>
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
constexpr char kAnswered[] = "lockstep-answered";  // trailing metadata
constexpr char kPullMethod[] = "/lockstep.v1.Shard/Pull";
constexpr std::chrono::seconds kQuestionTimeout{3};

// The end of the call that `farther` was asked with, as `asked` is to end.
grpc::Status HandBack(const grpc::Status& status, const grpc::ClientContext& onward, const Farther& farther,
                      grpc::CallbackServerContext& asked) {
  MarkAnswered(asked);
  const bool unreachable = (status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                            status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) &&
                           onward.GetServerTrailingMetadata().count(kAnswered) == 0;
  if (!unreachable) return status;
  const char* here = farther.to == PassedOn::kToShard ? "the coordinator is up" : "this shard is up";
  return {grpc::StatusCode::UNAVAILABLE, absl::StrCat(here, ", but cannot reach ", farther.whom, " at ",
                                                      farther.address, ": ", status.error_message())};
}

// A frame is read from the shard, then written to the reader, then the next one is read: never both at once, so that no
// lock is needed. The hold on the call to the shard is let go when no more is read; only then does it end, and with it
// the reader's call.
class PullRelay {
 public:
  PullRelay(grpc::CallbackServerContext* context, const grpc::ByteBuffer& request, Farther farther)
      : context_(context), request_(request), farther_(std::move(farther)) {}

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
    MarkPassedOn(onward_, farther_.to);
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
    reader_.Finish(HandBack(status, onward_, farther_, *context_));
  }

  grpc::CallbackServerContext* const context_;
  const grpc::ByteBuffer request_;
  const Farther farther_;
  grpc::GenericStub stub_{farther_.channel};
  grpc::ClientContext onward_;
  grpc::ByteBuffer frame_;
  ReaderSide reader_{this};
  ShardSide shard_{this};
};

}  // namespace

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

void MarkAnswered(grpc::CallbackServerContext& context) { context.AddTrailingMetadata(kAnswered, "1"); }

Farther TheCoordinator(KeptChannel& kept) {
  return {PassedOn::kToCoordinator, "the coordinator", kept.address(), kept.Get()};
}

Farther TheShard(uint32_t shard, const std::string& address) {
  return {PassedOn::kToShard, absl::StrCat("shard ", shard), address, wire::ControlChannel(address)};
}

grpc::ServerUnaryReactor* ForwardQuestion(grpc::CallbackServerContext* context, std::shared_ptr<KeptChannel> kept,
                                          const StartQuestion& start) {
  struct Question {
    Farther farther;
    std::unique_ptr<v1::Control::Stub> stub = v1::Control::NewStub(farther.channel);
    grpc::ClientContext onward = {};
  };
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (WasPassedOn(*context) != PassedOn::kNot) {
    MarkAnswered(*context);
    reactor->Finish(NotTheCoordinator());
    return reactor;
  }
  auto question = std::make_shared<Question>(TheCoordinator(*kept));
  MarkPassedOn(question->onward, question->farther.to);
  question->onward.set_deadline(std::chrono::system_clock::now() + kQuestionTimeout);
  start(*question->stub, &question->onward, [context, reactor, kept, question](const grpc::Status& status) {
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) kept->GiveUp(question->farther.channel);
    reactor->Finish(HandBack(status, question->onward, question->farther, *context));
  });
  return reactor;
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* RelayPull(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer& request, Farther farther) {
  return PullRelay::Start(std::make_shared<PullRelay>(context, request, std::move(farther)));
}

}  // namespace lockstep::service
