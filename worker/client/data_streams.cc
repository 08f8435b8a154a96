#include "worker/client/data_streams.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/wire/channel.h"
#include "common/wire/status.h"
#include "spdlog/spdlog.h"

namespace lockstep::client {
namespace {

constexpr uint32_t kMaxConnections = 64;  // to each shard, as lockstep-server's --connections
constexpr absl::Duration kRetryAfter = absl::Milliseconds(200);
constexpr absl::Duration kComplainEvery = absl::Seconds(5);

absl::Status CheckFirst(const v1::Announce& announce) {
  if (announce.shard_addresses().empty()) {
    return absl::InternalError("the coordinator announced a generation without shards");
  }
  if (announce.connections() == 0 || announce.connections() > kMaxConnections) {
    return absl::InternalError(absl::StrCat("the coordinator announced ", announce.connections(),
                                            " connections to each shard; expected 1 to ", kMaxConnections));
  }
  if (announce.block_elements() == 0 || announce.block_elements() > wire::kMaxMessageBytes / sizeof(float)) {
    return absl::InternalError(absl::StrCat("the coordinator announced blocks of ", announce.block_elements(),
                                            " elements; expected 1 to ", wire::kMaxMessageBytes / sizeof(float)));
  }
  return absl::OkStatus();
}

// What the layout and the connections were made from is the same in every generation of a run.
absl::Status CheckUnchanged(const v1::Announce& before, const v1::Announce& announce) {
  const auto check = [&](const char* what, uint64_t expected, uint64_t actual) {
    if (actual == expected) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("the coordinator announced ", actual, " ", what, " in generation ",
                                            announce.generation(), ", but ", expected,
                                            " before: a run cannot change that"));
  };
  absl::Status status = check("shards", static_cast<uint64_t>(before.shard_addresses_size()),
                              static_cast<uint64_t>(announce.shard_addresses_size()));
  status.Update(check("connections to each shard", before.connections(), announce.connections()));
  status.Update(check("elements in a block", before.block_elements(), announce.block_elements()));
  return status;
}

}  // namespace

SessionOptions DataStreams::SessionFor(Member me) const {
  SessionOptions options{.me = me, .connections = announce_.connections(), .blocks_per_shard = {}};
  for (uint32_t s = 0; s < connections_.size(); ++s) {
    options.blocks_per_shard.push_back(static_cast<uint32_t>(layout_->of_shard(ShardIndex(s)).size()));
  }
  return options;
}

absl::Status DataStreams::CheckBlock(const DataStream& stream, const wire::Frame& frame) const {
  const uint32_t block = frame.header.block();
  const bool known = block < layout_->blocks().size() && layout_->block(BlockIndex(block)).shard == stream.shard();
  if (!known) return absl::InvalidArgumentError("a block that is not this shard's");
  return wire::CheckPayload(frame, layout_->block(BlockIndex(block)).elements);
}

DataStreams::StreamList DataStreams::Streams() const {
  StreamList streams;
  for (const auto& shard : connections_) {
    for (const Connection& connection : shard) {
      if (connection.stream != nullptr) streams.push_back(connection.stream);
    }
  }
  return streams;
}

// ---- Generations and connections ----

absl::Status DataStreams::OnAnnounce(const v1::Announce& announce, const std::optional<ModelSpec>& model) {
  if (layout_ != nullptr) {
    if (absl::Status status = CheckUnchanged(announce_, announce); !status.ok()) return status;
    announce_ = announce;
    return absl::OkStatus();
  }
  if (!model) return absl::InternalError("a generation was announced before this worker has defined the model");
  if (absl::Status status = CheckFirst(announce); !status.ok()) return status;
  const auto shards = static_cast<uint32_t>(announce.shard_addresses_size());
  absl::StatusOr<BlockLayout> layout =
      BlockLayout::Create(*model, shards, static_cast<int64_t>(announce.block_elements()));
  if (!layout.ok()) return layout.status();
  layout_ = std::make_unique<const BlockLayout>(*std::move(layout));
  connections_.assign(shards, std::vector<Connection>(announce.connections()));
  announce_ = announce;
  return absl::OkStatus();
}

void DataStreams::Introduce(const std::string& run_id, Member me) {
  introduction_.set_kind(v1::FrameHeader::ATTACH);
  introduction_.set_run_id(run_id);
  introduction_.set_rank(me.rank.value());
  introduction_.set_incarnation(me.incarnation.value());
  introduction_.set_connections(announce_.connections());
}

DataStreams::StreamList DataStreams::MakeStreams(DataStream::Owner* owner, absl::Time due) {
  StreamList streams;
  for (uint32_t s = 0; s < connections_.size(); ++s) {
    for (uint32_t c = 0; c < connections_[s].size(); ++c) {
      Connection& connection = connections_[s][c];
      if (connection.stream != nullptr || connection.retry_at > due) continue;
      const std::string& address = announce_.shard_addresses(static_cast<int>(s));
      connection.stream = std::make_shared<DataStream>(owner, ShardIndex(s), c, address);
      ++connection.attempts;
      streams.push_back(connection.stream);
    }
  }
  return streams;
}

bool DataStreams::OnClosed(const DataStream& stream, absl::Time now) {
  Connection& connection = connections_[stream.shard().value()][stream.connection()];
  if (connection.stream.get() != &stream) return false;
  connection.stream.reset();
  connection.retry_at = now + kRetryAfter;
  return true;
}

absl::Status DataStreams::Judge(const DataStream& stream, const absl::Status& status, bool expected, absl::Time now) {
  if (wire::IsFinal(status) || absl::IsResourceExhausted(status)) {
    return absl::Status(status.code(),
                        absl::StrCat("shard ", stream.shard().value(), ": ", std::string(status.message())));
  }
  if (!expected && now >= quiet_until_) {
    quiet_until_ = now + kComplainEvery;
    spdlog::info("connection {} to shard {} has ended ({}); connecting again", stream.connection(),
                 stream.shard().value(), std::string(status.message()));
  }
  return absl::OkStatus();
}

// ---- Effects of SessionCore ----

void DataStreams::Greet(const SendAttach& effect, Todo& todo) {
  Connection& connection = connections_[effect.shard.value()][effect.connection];
  connection.next_slot = SIZE_MAX;  // what was to be sent in the older generation is not
  v1::FrameHeader header = introduction_;
  header.set_generation(effect.generation.value());
  header.set_round(effect.next.value());
  header.set_connection(effect.connection);
  header.set_attempt(connection.attempts);
  connection.stream->Enqueue([header] { return std::make_optional(wire::Encode(header)); });
  todo.flush.push_back(connection.stream);
}

void DataStreams::Contribute(const SendContribution& effect, const Call& call, const SessionCore& session, Todo& todo) {
  Connection& connection = connections_[effect.shard.value()][effect.connection];
  v1::FrameHeader header;
  header.set_generation(effect.generation.value());
  header.set_round(effect.round.value());
  header.set_weight(call.weight);
  connection.next_slot = SIZE_MAX;
  if (layout_->of_shard(effect.shard).empty() || call.gradients.empty()) {
    if (effect.connection != 0) return;
    header.set_kind(v1::FrameHeader::EMPTY_CONTRIBUTION);
    connection.stream->Enqueue([header] { return std::make_optional(wire::Encode(header)); });
    todo.flush.push_back(connection.stream);
    return;
  }
  header.set_kind(v1::FrameHeader::CONTRIBUTION);
  header.set_dtype(v1::DTYPE_F32);
  connection.header = std::move(header);
  connection.next_slot = effect.connection;
  connection.under_way.clear();
  connection.under_way_bytes = 0;
  Pump(effect.shard, effect.connection, call, session, todo);
}

void DataStreams::NoteReturned(ShardIndex shard, const Block& block, const Call* call, const SessionCore& session,
                               Todo& todo) {
  const uint32_t index = block.slot.value() % announce_.connections();
  Connection& connection = connections_[shard.value()][index];
  if (connection.under_way.erase(block.slot) > 0) connection.under_way_bytes -= block.bytes();
  if (call != nullptr && connection.stream != nullptr) Pump(shard, index, *call, session, todo);
}

void DataStreams::Pump(ShardIndex shard, uint32_t index, const Call& call, const SessionCore& session, Todo& todo) {
  Connection& connection = connections_[shard.value()][index];
  const std::vector<BlockIndex>& blocks = layout_->of_shard(shard);
  const bool any = connection.next_slot < blocks.size();
  for (; connection.next_slot < blocks.size(); connection.next_slot += announce_.connections()) {
    const Slot slot(static_cast<uint32_t>(connection.next_slot));
    if (session.HasReceived(shard, slot)) continue;  // the shard has closed it: this contribution was in it
    const size_t bytes = layout_->block(blocks[slot.value()]).bytes();
    if (!connection.under_way.empty() && connection.under_way_bytes + bytes > announce_.credit_bytes()) break;
    connection.under_way.insert(slot);
    connection.under_way_bytes += bytes;
    connection.stream->Enqueue(BlockMaker(blocks[slot.value()], connection.header, call));
  }
  if (any) todo.flush.push_back(connection.stream);
}

// Makes the message when its turn has come, unless the call is over by then.
DataStream::Maker DataStreams::BlockMaker(BlockIndex index, v1::FrameHeader header, const Call& call) const {
  const Block& block = layout_->block(index);
  header.set_block(index.value());
  const absl::Span<const float> values =
      call.gradients[block.tensor].subspan(static_cast<size_t>(block.offset), static_cast<size_t>(block.elements));
  return [memory = call.memory, header, values,
          checksums = announce_.checksums()]() mutable -> std::optional<grpc::ByteBuffer> {
    if (!memory->TryLend()) return std::nullopt;
    const grpc::Slice payload = wire::Lend(
        values.data(), values.size() * sizeof(float),
        [](void* held) {
          TsanAcquireFromGrpc();
          auto* lender = static_cast<std::shared_ptr<LentMemory>*>(held);
          (*lender)->Return();
          delete lender;
        },
        new std::shared_ptr<LentMemory>(memory));
    if (checksums) header.set_checksum(wire::Checksum({&payload, 1}));
    return wire::Encode(header, payload);
  };
}

}  // namespace lockstep::client
