#include "worker/client/shard_pull.h"

#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/wire/channel.h"
#include "common/wire/frame.h"
#include "common/wire/status.h"

namespace lockstep::client {
namespace {

// The payload as the codec's functions take it, without a copy; `message` must outlive it.
wire::Frame View(const v1::Frame& message) {
  wire::Frame frame;
  frame.header = message.header();
  frame.payload_bytes = message.payload().size();
  frame.payload.push_back(grpc::Slice(message.payload().data(), message.payload().size(), grpc::Slice::STATIC_SLICE));
  return frame;
}

// How long a shard's own address may take before it is asked for through another shard.
constexpr absl::Duration kConnectPatience = absl::Seconds(1);

bool Connects(grpc::Channel& channel) {
  const auto deadline = absl::ToChronoTime(absl::Now() + kConnectPatience);
  while (true) {
    const grpc_connectivity_state state = channel.GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE) return false;
    if (!channel.WaitForStateChange(state, deadline)) return false;
  }
}

}  // namespace

ShardPull::ShardPull(const PullPlan& plan, ShardIndex shard, std::string address, std::function<void()> begins)
    : plan_(plan),
      shard_(shard),
      address_(std::move(address)),
      begins_(std::move(begins)),
      received_(plan.layout->of_shard(shard).size()),
      missing_(static_cast<uint32_t>(received_.size())) {}

std::shared_ptr<grpc::Channel> ShardPull::Connect() {
  std::shared_ptr<grpc::Channel> channel = wire::DataChannel(address_);
  if (address_ == plan_.endpoint || Connects(*channel)) return channel;
  passed_on_ = true;
  return wire::DataChannel(plan_.endpoint);
}

absl::Status ShardPull::Run() {
  const std::unique_ptr<v1::Shard::Stub> stub = v1::Shard::NewStub(Connect());
  v1::PullRequest request;
  request.set_run_id(plan_.run_id);
  request.set_version(plan_.version);
  if (passed_on_) request.set_shard(shard_.value());
  context_.set_deadline(absl::ToChronoTime(plan_.deadline));
  const std::unique_ptr<grpc::ClientReader<v1::Frame>> reader = stub->Pull(&context_, request);
  const absl::Status read = ReadAll(*reader);
  if (!read.ok()) context_.TryCancel();
  const absl::Status finished = wire::FromGrpc(reader->Finish());
  if (!read.ok()) return Explain(read);
  if (!finished.ok()) return Explain(finished);
  if (complete_) return absl::OkStatus();
  return Explain(absl::UnavailableError("it ended the stream before it said that the version is complete"));
}

absl::Status ShardPull::ReadAll(grpc::ClientReader<v1::Frame>& reader) {
  v1::Frame message;
  for (bool first = true; reader.Read(&message); first = false) {
    if (first) begins_();
    if (absl::Status status = Take(message); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ShardPull::Take(const v1::Frame& message) {
  const v1::FrameHeader& header = message.header();
  if (header.round() != plan_.version || complete_) {
    return absl::InternalError(absl::StrCat("expected a frame of version ", plan_.version, ", but ",
                                            v1::FrameHeader::Kind_Name(header.kind()), " of version ", header.round(),
                                            complete_ ? " came after COMPLETE" : " came"));
  }
  if (header.kind() == v1::FrameHeader::PARAMETERS) return TakeBlock(message);
  if (header.kind() == v1::FrameHeader::COMPLETE) return TakeComplete(header);
  return absl::InternalError(
      absl::StrCat("expected PARAMETERS or COMPLETE, but ", v1::FrameHeader::Kind_Name(header.kind()), " came"));
}

absl::Status ShardPull::TakeBlock(const v1::Frame& message) {
  const uint32_t index = message.header().block();
  const bool known = index < plan_.layout->blocks().size();
  if (!known || plan_.layout->block(BlockIndex(index)).shard != shard_) {
    return absl::InternalError(
        absl::StrCat("block ", index, " came, which is not one of its ", received_.size(), " blocks"));
  }
  const Block& block = plan_.layout->block(BlockIndex(index));
  if (received_[block.slot.value()]) return absl::InternalError(absl::StrCat("block ", index, " came twice"));
  const wire::Frame frame = View(message);
  if (absl::Status status = wire::CheckPayload(frame, block.elements); !status.ok()) return status;
  wire::CopyPayload(frame, plan_.tensors[block.tensor]->data() + block.offset);
  received_[block.slot.value()] = true;
  --missing_;
  return absl::OkStatus();
}

absl::Status ShardPull::TakeComplete(const v1::FrameHeader& header) {
  if (missing_ > 0) {
    return absl::InternalError(
        absl::StrCat("COMPLETE came, but ", missing_, " of its ", received_.size(), " blocks did not"));
  }
  complete_ = true;
  completed_in_ = Generation(header.completed_in());
  return absl::OkStatus();
}

absl::Status ShardPull::Explain(const absl::Status& status) const {
  return absl::Status(status.code(), absl::StrCat("version ", plan_.version, " from shard ", shard_.value(), " (",
                                                  address_, passed_on_ ? ", asked for through " : "",
                                                  passed_on_ ? plan_.endpoint : "", "): ", status.message()));
}

std::optional<uint64_t> ShardPull::newest() const {
  const auto& trailers = context_.GetServerTrailingMetadata();
  const auto found = trailers.find(wire::kNewestVersionTrailer);
  uint64_t version = 0;
  if (found == trailers.end()) return std::nullopt;
  const absl::string_view text(found->second.data(), found->second.size());
  return absl::SimpleAtoi(text, &version) ? std::optional(version) : std::nullopt;
}

}  // namespace lockstep::client
