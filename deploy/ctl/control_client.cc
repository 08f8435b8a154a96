#include "deploy/ctl/control_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/wire/channel.h"
#include "deploy/ctl/words.h"

namespace lockstep::ctl {
namespace {

// The server's own words that a call has; gRPC's own errors about connections are not among them.
bool IsFromTransport(const std::string& message) {
  return absl::StrContains(message, "failed to connect") || absl::StrContains(message, "onnection") ||
         absl::StrContains(message, "ocket closed") || absl::StrContains(message, "DNS resolution") ||
         absl::StrContains(message, "GOAWAY") || absl::StrContains(message, "http1") || message.empty();
}

bool IsOtherService(const grpc::Status& failure) {
  // HTTP servers answer with 404, 415 or HTML, which gRPC turns into these.
  return failure.error_code() == grpc::StatusCode::UNIMPLEMENTED ||
         absl::StrContains(failure.error_message(), "http1.x") ||
         absl::StrContains(failure.error_message(), "Failed parsing HTTP/2") ||
         absl::StrContains(failure.error_message(), "content-type") ||
         absl::StrContains(failure.error_message(), "http status") ||
         absl::StrContains(failure.error_message(), "status: ");
}

// The deadline has passed, or gRPC gave up waiting for the first bytes from the peer.
bool IsSilence(const grpc::Status& failure) {
  return failure.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
         absl::StrContains(failure.error_message(), "timed out before receiving SETTINGS");
}

absl::Status Unreachable(const std::string& endpoint, const grpc::Status& failure, const std::string& after) {
  return absl::UnavailableError(
      absl::StrCat("cannot reach ", endpoint, after, ": ", failure.error_message(),
                   ". Is the shard running and has it printed this address; is the port right; does a "
                   "firewall lie between?"));
}

absl::Status NoAnswer(const std::string& endpoint, const std::string& after) {
  return absl::UnavailableError(
      absl::StrCat("no answer from ", endpoint, after,
                   ". Either the host drops packets, or the process there is stopped or overloaded, or what "
                   "listens there is not a Lockstep shard. Check the address, look at the shard's log, or give "
                   "it longer with --timeout"));
}

// A server that shuts down cancels what it is being asked.
absl::Status EndedMeanwhile(const std::string& endpoint) {
  return absl::UnavailableError(
      absl::StrCat(endpoint, " ended while it was asked: the shard is being stopped or started again. Ask once more"));
}

absl::Status WrongService(const std::string& endpoint, const grpc::Status& failure) {
  const std::string said = failure.error_message().empty() ? "it does not know the question"
                                                           : absl::StrCat("gRPC says: ", failure.error_message());
  return absl::UnavailableError(absl::StrCat("something listens at ", endpoint, ", but it is not a Lockstep shard (",
                                             said, "). Give the address that lockstep-server listens on"));
}

// Makes one call and says what a failure means.
template <typename Reply, typename Call>
absl::StatusOr<Reply> Ask(const std::string& endpoint, absl::Duration timeout, Call call) {
  const absl::Time start = absl::Now();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(start + timeout));
  Reply reply;
  const grpc::Status status = call(context, reply);
  if (status.ok()) return reply;
  return ExplainFailure(endpoint, status, absl::Now() - start);
}

}  // namespace

ControlClient::ControlClient(std::string endpoint) : endpoint_(std::move(endpoint)) {}

std::shared_ptr<v1::Control::Stub> ControlClient::Stub(bool again) {
  MutexLock lock(&mutex_);
  if (stub_ == nullptr || again) stub_ = v1::Control::NewStub(wire::ControlChannel(endpoint_));
  return stub_;
}

template <typename Reply, typename Call>
absl::StatusOr<Reply> ControlClient::AskShard(absl::Duration timeout, Call call) {
  absl::StatusOr<Reply> reply =
      Ask<Reply>(endpoint_, timeout,
                 [&, stub = Stub()](grpc::ClientContext& context, Reply& into) { return call(*stub, context, into); });
  if (absl::IsUnavailable(reply.status())) Stub(/*again=*/true);
  return reply;
}

absl::StatusOr<v1::Status> ControlClient::GetStatus(uint32_t rounds, absl::Duration timeout) {
  v1::StatusRequest request;
  request.set_rounds(rounds);
  return AskShard<v1::Status>(timeout, [&](v1::Control::Stub& stub, grpc::ClientContext& context, auto& reply) {
    return stub.GetStatus(&context, request, &reply);
  });
}

absl::StatusOr<v1::EvictReply> ControlClient::Evict(uint32_t rank, absl::Duration timeout) {
  v1::EvictRequest request;
  request.set_rank(rank);
  return AskShard<v1::EvictReply>(timeout, [&](v1::Control::Stub& stub, grpc::ClientContext& context, auto& reply) {
    return stub.Evict(&context, request, &reply);
  });
}

absl::StatusOr<v1::CheckpointReply> ControlClient::TakeCheckpoint(absl::Duration timeout) {
  return AskShard<v1::CheckpointReply>(timeout, [](v1::Control::Stub& stub, grpc::ClientContext& context, auto& reply) {
    return stub.TakeCheckpoint(&context, v1::CheckpointRequest(), &reply);
  });
}

absl::StatusOr<v1::HealthReply> ControlClient::GetHealth(absl::Duration timeout) {
  return AskShard<v1::HealthReply>(timeout, [&](v1::Control::Stub& stub, grpc::ClientContext& context, auto& reply) {
    return stub.GetHealth(&context, v1::HealthRequest(), &reply);
  });
}

absl::Status ExplainFailure(const std::string& endpoint, const grpc::Status& failure, absl::Duration elapsed) {
  const std::string after = absl::StrCat(" after ", FormatSeconds(absl::ToDoubleSeconds(elapsed)));
  if (IsOtherService(failure)) return WrongService(endpoint, failure);
  if (IsSilence(failure)) return NoAnswer(endpoint, after);
  if (failure.error_code() == grpc::StatusCode::CANCELLED) return EndedMeanwhile(endpoint);
  if (failure.error_code() == grpc::StatusCode::UNAVAILABLE && IsFromTransport(failure.error_message())) {
    return Unreachable(endpoint, failure, after);
  }
  return absl::Status(static_cast<absl::StatusCode>(failure.error_code()),
                      absl::StrCat(endpoint, " answered: ", failure.error_message()));
}

}  // namespace lockstep::ctl
