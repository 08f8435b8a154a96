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
// A shard that has served a run and cannot find its coordinator any more: it may have missed the end of the run.
constexpr absl::Duration kGiveUpAfter = absl::Seconds(60);

// No other attempt of this process can go better.
bool IsFinal(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsInvalidArgument(status) || absl::IsAborted(status) ||
         absl::IsUnimplemented(status);
}

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

CoordinatorLink::CoordinatorLink(ShardDriver* driver, ShardIndex shard, std::string coordinator, std::string advertised)
    : driver_(driver), shard_(shard), coordinator_(std::move(coordinator)), advertised_(std::move(advertised)) {}

CoordinatorLink::~CoordinatorLink() = default;

void CoordinatorLink::Send(v1::ShardMessage message) {
  std::shared_ptr<Stream> stream;
  {
    MutexLock lock(&mutex_);
    stream = stream_;
  }
  if (stream != nullptr) stream->Send(std::move(message));
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
  {
    MutexLock lock(&mutex_);
    end_ = {};
    // Before others see the stream: the greeting comes first.
    stream->Enqueue([message] { return std::make_optional(message); });
    stream_ = stream;
    stream->Start();
  }
  stream->Flush();
  return stream;
}

void CoordinatorLink::OnCommand(const v1::ShardCommand& command) {
  if (command.has_welcome()) {
    spdlog::info("shard {}: serves run {}", shard_.value(), command.welcome().run_id());
    driver_->Welcome(command.welcome().run_id());
  } else if (command.has_seal()) {
    driver_->Seal(command.seal());
  } else if (command.has_install()) {
    driver_->Install(command.install());
  } else if (command.has_finish()) {
    MutexLock lock(&mutex_);
    end_.finished = true;
    end_.failure = command.finish().failure();
  }
}

void CoordinatorLink::OnClosed(const absl::Status& status) {
  MutexLock lock(&mutex_);
  stream_ = nullptr;
  end_.closed = true;
  end_.status = status;
}

absl::Status CoordinatorLink::Serve(Stream& stream, bool& over) {
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return end_.closed || stopping_; };
  while (true) {
    {
      MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&ended), kReportEvery)) break;
    }
    v1::ShardMessage message;
    *message.mutable_report() = driver_->Report();
    stream.Send(std::move(message));
  }
  stream.Cancel();
  MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&end_.closed));
  over = true;
  if (end_.finished) return end_.failure.empty() ? absl::OkStatus() : absl::AbortedError(end_.failure);
  if (stopping_) return absl::CancelledError("stopped");
  if (IsFinal(end_.status)) return Explain(end_.status, coordinator_);
  over = false;
  return end_.status;
}

absl::Status CoordinatorLink::Run() {
  while (true) {
    bool over = false;
    const absl::Time opened = MonotonicNow();
    const absl::Status status = Serve(*Open(), over);
    if (over) return status;
    if (MonotonicNow() - opened > kRetryAfter) lost_since_ = MonotonicNow();  // the stream was there for a while
    if (!driver_->run_id().empty() && MonotonicNow() - lost_since_ > kGiveUpAfter) {
      return absl::AbortedError(absl::StrCat("no coordinator at ", coordinator_, " for ",
                                             absl::FormatDuration(kGiveUpAfter), ": ", std::string(status.message())));
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
