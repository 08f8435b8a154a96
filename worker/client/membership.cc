#include "worker/client/membership.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/convert.h"
#include "common/wire/status.h"
#include "spdlog/spdlog.h"

namespace lockstep::client {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(50);
constexpr absl::Duration kRetryAfter = absl::Milliseconds(200);
constexpr absl::Duration kComplainEvery = absl::Seconds(5);
constexpr int kHeartbeatsPerLease = 10;

}  // namespace

absl::Duration Membership::HeartbeatEvery() const {
  return absl::Milliseconds(std::max<int64_t>(welcome_.lease_milliseconds() / kHeartbeatsPerLease, 10));
}

absl::Duration Membership::LongestSleep() const { return welcomed_ ? std::min(kTick, HeartbeatEvery() / 2) : kTick; }

absl::Status Membership::NoPlaceError() const {
  if (absl::IsResourceExhausted(last_error_)) return last_error_;
  return absl::UnavailableError(absl::StrCat("got no place in the run from the coordinator at ", options_.coordinator,
                                             " within ", absl::FormatDuration(options_.timeout), ": ",
                                             last_error_.ok() ? "no answer" : std::string(last_error_.message()),
                                             ". Is a lockstep-server with --shard-index 0 running there?"));
}

std::shared_ptr<MembershipStream> Membership::MakeStream(MembershipStream::Owner* owner,
                                                         const std::optional<ModelSpec>& model) {
  stream_ = std::make_shared<MembershipStream>(owner, options_.coordinator);
  v1::WorkerMessage join;
  join.mutable_join()->set_name(options_.name);
  join.mutable_join()->set_incarnation(incarnation_.value());
  if (options_.rank) join.mutable_join()->set_rank(options_.rank->value());
  join.mutable_join()->set_attempt(++attempts_);
  join.mutable_join()->set_run_id(welcomed_ ? run_id_ : options_.run_id);
  stream_->Send(std::move(join));  // only queued: it is not open yet
  if (model) {
    v1::WorkerMessage define;
    *define.mutable_define()->mutable_model() = ToProto(*model);
    stream_->Send(std::move(define));
  }
  if (leaving_) {
    v1::WorkerMessage leave;
    leave.mutable_leave();
    stream_->Send(std::move(leave));
  }
  return stream_;
}

std::shared_ptr<MembershipStream> Membership::Beat(absl::Time now) {
  if (stream_ == nullptr || now < next_heartbeat_) return nullptr;
  next_heartbeat_ = now + HeartbeatEvery();
  return stream_;
}

void Membership::OnWelcome(const v1::Welcome& welcome, absl::Time now) {
  welcome_ = welcome;
  if (!welcomed_) run_id_ = welcome.run_id();
  welcomed_ = true;
  next_heartbeat_ = now + HeartbeatEvery();
}

absl::Status Membership::OnClosed(const MembershipStream& stream, const absl::Status& status, absl::Time now) {
  if (stream_.get() == &stream) {
    stream_.reset();
    next_heartbeat_ = absl::InfiniteFuture();
    retry_at_ = now + kRetryAfter;
  }
  if (status.ok() || left_) return absl::OkStatus();
  last_error_ = status;
  if (absl::IsUnimplemented(status)) {
    return absl::InvalidArgumentError(absl::StrCat("no coordinator answers at ", options_.coordinator,
                                                   ": expected the address of the lockstep-server with "
                                                   "--shard-index 0"));
  }
  if (wire::IsFinal(status)) return status;
  if (now >= quiet_until_) {
    quiet_until_ = now + kComplainEvery;
    spdlog::warn("no place at the coordinator {} now: {}; trying again", options_.coordinator,
                 std::string(status.message()));
  }
  return absl::OkStatus();
}

}  // namespace lockstep::client
