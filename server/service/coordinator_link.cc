#include "server/service/coordinator_link.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/wire/channel.h"
#include "common/wire/client_stream.h"
#include "common/wire/status.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {
namespace {

constexpr absl::Duration kReportEvery = absl::Milliseconds(200);
constexpr absl::Duration kRetryAfter = absl::Milliseconds(200);
constexpr absl::Duration kComplainEvery = absl::Seconds(5);

// A status that names what to check.
absl::Status Explain(const absl::Status& status, const std::string& coordinator) {
  if (!absl::IsUnimplemented(status)) return status;
  return absl::InvalidArgumentError(absl::StrCat(
      "--coordinator ", coordinator, " is no coordinator: expected the address of the server with --shard-index 0"));
}

}  // namespace

class CoordinatorLink::Stream : public wire::ClientStream<v1::ShardCommand, v1::ShardMessage> {
 public:
  explicit Stream(CoordinatorLink* link)
      : link_(link), stub_(v1::Coordinator::NewStub(wire::ControlChannel(link->coordinator_))) {
    stub_->async()->Serve(&context(), this);
  }

 private:
  void OnMessage(v1::ShardCommand& command) override { link_->OnCommand(command); }
  void OnClosed(const grpc::Status& status) override { link_->OnClosed(wire::FromGrpc(status)); }

  CoordinatorLink* const link_;
  const std::unique_ptr<v1::Coordinator::Stub> stub_;
};

CoordinatorLink::CoordinatorLink(ShardDriver* driver, ShardIndex shard, std::string coordinator, std::string advertised,
                                 absl::Duration give_up_after, AfterRun after_run, ProcessHealth* health)
    : driver_(driver),
      shard_(shard),
      coordinator_(std::move(coordinator)),
      advertised_(std::move(advertised)),
      give_up_after_(after_run == AfterRun::kServe ? absl::InfiniteDuration() : give_up_after),
      after_run_(after_run),
      health_(health) {}

CoordinatorLink::~CoordinatorLink() = default;

void CoordinatorLink::Send(v1::ShardMessage message) {
  std::shared_ptr<Stream> stream;
  {
    MutexLock lock(&mutex_);
    stream = stream_;
  }
  if (stream != nullptr) stream->Send(std::move(message));
}

void CoordinatorLink::SetRegistered(bool registered) {
  if (health_ != nullptr) health_->SetRegistered(registered);
}

void CoordinatorLink::Stop() {
  MutexLock lock(&mutex_);
  stopping_ = true;
}

std::shared_ptr<CoordinatorLink::Stream> CoordinatorLink::Open() {
  auto stream = std::make_shared<Stream>(this);
  v1::ShardMessage message;
  v1::ShardHello* hello = message.mutable_hello();
  hello->set_shard_index(shard_.value());
  hello->set_incarnation(driver_->incarnation().value());
  hello->set_address(advertised_);
  hello->set_run_id(driver_->bound_run_id());
  hello->set_attempt(++attempts_);
  // Before others see the stream: the greeting comes first.
  stream->Enqueue([message] { return std::make_optional(message); });
  {
    MutexLock lock(&mutex_);
    end_ = {};
  }
  stream->Start();
  {
    MutexLock lock(&mutex_);
    if (!end_.closed) stream_ = stream;  // from now on Send uses it; it may have ended by now
  }
  // Last: the coordinator asks nothing before the greeting, so that no answer is dropped for want of a stream.
  stream->Flush();
  return stream;
}

void CoordinatorLink::OnCommand(const v1::ShardCommand& command) {
  {
    MutexLock lock(&mutex_);
    end_.heard = true;
  }
  if (command.has_welcome()) {
    spdlog::info("shard {}: serves run {}", shard_.value(), command.welcome().run_id());
    driver_->Welcome(command.welcome().run_id());
    SetRegistered(true);
  } else if (command.has_seal()) {
    driver_->Seal(command.seal());
  } else if (command.has_install()) {
    driver_->Install(command.install());
  } else if (command.has_close()) {
    driver_->Close(command.close());
  } else if (command.has_give()) {
    driver_->Give(command.give());
  } else if (command.has_take_checkpoint()) {
    driver_->TakeCheckpoint(command.take_checkpoint());
  } else if (command.has_checkpoint_finished()) {
    driver_->KeepManifest(command.checkpoint_finished());
  } else if (command.has_find_restorable()) {
    driver_->FindRestorable(command.find_restorable());
  } else if (command.has_finish()) {
    MutexLock lock(&mutex_);
    end_.finished = true;
    end_.failure = command.finish().failure();
    if (command.finish().code() != 0) end_.failure_code = static_cast<absl::StatusCode>(command.finish().code());
    if (OverLocked() || std::exchange(told_, true)) return;
    spdlog::info("shard {}: the run is done; goes on serving it", shard_.value());
    if (health_ != nullptr) health_->SetDone();
  }
}

void CoordinatorLink::OnClosed(const absl::Status& status) {
  SetRegistered(false);
  MutexLock lock(&mutex_);
  stream_ = nullptr;
  end_.closed = true;
  end_.status = status;
}

absl::Status CoordinatorLink::Serve(Stream& stream, bool& over) {
  const auto ended = [this]()
                         ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return end_.closed || stopping_ || OverLocked(); };
  while (true) {
    {
      MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&ended), kReportEvery)) break;
    }
    if (health_ != nullptr) health_->NoteTurn(MonotonicNow());
    v1::ShardMessage message;
    *message.mutable_report() = driver_->Report();
    stream.Send(std::move(message));
  }
  stream.Cancel();
  MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&end_.closed));
  over = true;
  if (OverLocked()) return end_.failure.empty() ? absl::OkStatus() : absl::Status(end_.failure_code, end_.failure);
  if (stopping_) return absl::CancelledError("stopped");
  if (wire::IsFinal(end_.status)) return Explain(end_.status, coordinator_);
  over = false;
  return end_.status;
}

bool CoordinatorLink::Heard() {
  MutexLock lock(&mutex_);
  return end_.heard;
}

absl::Status CoordinatorLink::Run() {
  while (true) {
    bool over = false;
    if (health_ != nullptr) health_->NoteTurn(MonotonicNow());
    const absl::Status status = Serve(*Open(), over);
    if (over) return status;
    if (Heard()) lost_since_ = MonotonicNow();
    if (MonotonicNow() - lost_since_ >= give_up_after_) {
      return absl::AbortedError(absl::StrCat("no coordinator at ", coordinator_, " for ",
                                             absl::FormatDuration(give_up_after_), ": ",
                                             std::string(status.message())));
    }
    if (MonotonicNow() >= quiet_until_) {
      spdlog::warn("shard {}: no connection to the coordinator at {}: {}; trying again", shard_.value(), coordinator_,
                   std::string(status.message()));
      quiet_until_ = MonotonicNow() + kComplainEvery;
    }
    MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kRetryAfter);
  }
}

}  // namespace lockstep::service
