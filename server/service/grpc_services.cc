#include "server/service/grpc_services.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/wire/status.h"
#include "server/service/forwarding.h"

namespace lockstep::service {
namespace {

// One reader's call. Deletes itself when gRPC is done with it; the driver may hold it longer.
class PullReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                    public PullStream,
                    public std::enable_shared_from_this<PullReactor> {
 public:
  explicit PullReactor(grpc::CallbackServerContext* context) : context_(context) {}

  static std::shared_ptr<PullReactor> Start(grpc::CallbackServerContext* context) {
    auto reactor = std::make_shared<PullReactor>(context);
    reactor->self_ = reactor;
    return reactor;
  }

  void Serve(std::vector<grpc::ByteBuffer> frames) override {
    MutexLock lock(&mutex_);
    if (ended_) return;
    frames_ = std::move(frames);
    WriteNextLocked();
  }
  void Refuse(const absl::Status& status, std::optional<uint64_t> newest) override {
    MutexLock lock(&mutex_);
    if (newest && !ended_) context_->AddTrailingMetadata(wire::kNewestVersionTrailer, absl::StrCat(*newest));
    EndLocked(wire::ToGrpc(status));
  }
  bool ended() override {
    MutexLock lock(&mutex_);
    return ended_;
  }

 private:
  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    if (ended_) return;
    ok ? WriteNextLocked() : EndLocked(grpc::Status::CANCELLED);
  }
  void OnCancel() override {
    MutexLock lock(&mutex_);
    if (next_ == 0) EndLocked(grpc::Status::CANCELLED);  // otherwise the write that is under way ends it
  }
  void OnDone() override { self_.reset(); }

  void WriteNextLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (next_ == frames_.size()) return EndLocked(grpc::Status::OK);
    StartWrite(&frames_[next_++]);
  }
  void EndLocked(grpc::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (std::exchange(ended_, true)) return;
    MarkAnswered(*context_);
    Finish(std::move(status));
  }

  grpc::CallbackServerContext* const context_;
  Mutex mutex_;
  std::vector<grpc::ByteBuffer> frames_ ABSL_GUARDED_BY(mutex_);
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<PullReactor> self_;
};

grpc::ServerUnaryReactor* FinishWith(grpc::CallbackServerContext* context, const grpc::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  MarkAnswered(*context);
  reactor->Finish(status);
  return reactor;
}

}  // namespace

ShardService::ShardService(CoordinatorDriver* coordinator, ShardDriver* shard,
                           std::shared_ptr<KeptChannel> to_coordinator)
    : coordinator_(coordinator), shard_(shard), to_coordinator_(std::move(to_coordinator)) {}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ShardService::Exchange(grpc::CallbackServerContext*) {
  return std::make_shared<ExchangeStream>(shard_)->Open();
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* ShardService::Pull(grpc::CallbackServerContext* context,
                                                               const grpc::ByteBuffer* request) {
  v1::PullRequest message;
  grpc::ByteBuffer bytes = *request;
  grpc::ProtoBufferReader reader(&bytes);
  const auto refuse = [&](const absl::Status& status) {
    const auto reactor = PullReactor::Start(context);
    reactor->Refuse(status, {});
    return reactor.get();
  };
  if (!reader.status().ok() || !message.ParseFromZeroCopyStream(&reader)) {
    return refuse(absl::InvalidArgumentError("expected a lockstep.v1.PullRequest"));
  }
  const bool of_another = message.has_shard() && ShardIndex(message.shard()) != shard_->shard();
  if (!of_another) {
    auto reactor = PullReactor::Start(context);
    grpc::ServerWriteReactor<grpc::ByteBuffer>* const started = reactor.get();
    shard_->Pull(message, std::move(reactor));
    return started;
  }
  const PassedOn passed_on = WasPassedOn(*context);
  if (passed_on == PassedOn::kToShard) {
    return refuse(wire::FromGrpc(AnotherShard(message.shard(), shard_->shard().value())));
  }
  if (coordinator_ == nullptr) {
    if (passed_on != PassedOn::kNot) return refuse(wire::FromGrpc(NotTheCoordinator()));
    return RelayPull(context, *request, TheCoordinator(*to_coordinator_));
  }
  const absl::StatusOr<std::string> address = coordinator_->AddressOf(ShardIndex(message.shard()));
  if (!address.ok()) return refuse(address.status());
  return RelayPull(context, *request, TheShard(message.shard(), *address));
}

grpc::ServerBidiReactor<v1::WorkerMessage, v1::WorkerCommand>* CoordinatorService::Work(grpc::CallbackServerContext*) {
  return std::make_shared<WorkStream>(driver_)->Open();
}

grpc::ServerBidiReactor<v1::ShardMessage, v1::ShardCommand>* CoordinatorService::Serve(grpc::CallbackServerContext*) {
  return std::make_shared<ServeStream>(driver_)->Open();
}

ControlService::ControlService(CoordinatorDriver* coordinator, ShardDriver* shard,
                               std::shared_ptr<KeptChannel> to_coordinator, const ProcessHealth* health)
    : coordinator_(coordinator), shard_(shard), to_coordinator_(std::move(to_coordinator)), health_(health) {}

grpc::ServerUnaryReactor* ControlService::GetStatus(grpc::CallbackServerContext* context,
                                                    const v1::StatusRequest* request, v1::Status* reply) {
  if (coordinator_ == nullptr) {
    return ForwardQuestion(context, to_coordinator_, [&](auto& stub, auto* onward, auto done) {
      stub.async()->GetStatus(onward, request, reply, std::move(done));
    });
  }
  constexpr uint32_t kMostRounds = 256;
  *reply = coordinator_->Status(std::min(request->rounds(), kMostRounds));
  return FinishWith(context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* ControlService::Evict(grpc::CallbackServerContext* context, const v1::EvictRequest* request,
                                                v1::EvictReply* reply) {
  if (coordinator_ == nullptr) {
    return ForwardQuestion(context, to_coordinator_, [&](auto& stub, auto* onward, auto done) {
      stub.async()->Evict(onward, request, reply, std::move(done));
    });
  }
  const absl::StatusOr<std::string> name = coordinator_->Evict(Rank(request->rank()));
  if (name.ok()) reply->set_name(*name);
  return FinishWith(context, wire::ToGrpc(name.status()));
}

grpc::ServerUnaryReactor* ControlService::TakeCheckpoint(grpc::CallbackServerContext* context,
                                                         const v1::CheckpointRequest* request,
                                                         v1::CheckpointReply* reply) {
  if (coordinator_ == nullptr) {
    return ForwardQuestion(context, to_coordinator_, [&](auto& stub, auto* onward, auto done) {
      stub.async()->TakeCheckpoint(onward, request, reply, std::move(done));
    });
  }
  const absl::StatusOr<v1::CheckpointStatus> before = coordinator_->TakeCheckpoint();
  if (before.ok()) *reply->mutable_before() = *before;
  return FinishWith(context, wire::ToGrpc(before.status()));
}

// Asks every lock for an answer: one that is never let go would be the end of this process's work.
grpc::ServerUnaryReactor* ControlService::GetHealth(grpc::CallbackServerContext* context, const v1::HealthRequest*,
                                                    v1::HealthReply* reply) {
  if (coordinator_ != nullptr) coordinator_->ended();
  *reply = health_->Describe(shard_->run_id(),
                             coordinator_ != nullptr ? "in this process" : "at " + to_coordinator_->address(),
                             MonotonicNow());
  return FinishWith(context, grpc::Status::OK);
}

}  // namespace lockstep::service
