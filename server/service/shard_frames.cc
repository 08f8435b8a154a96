#include "server/service/shard_frames.h"

#include <utility>

#include "common/convert.h"
#include "common/mutex.h"

namespace lockstep::service {

grpc::Slice SliceOf(const storage::BufferRef& block) {
  return wire::Lend(
      block->values().data(), block->bytes(),
      [](void* held) {
        TsanAcquireFromGrpc();
        delete static_cast<storage::BufferRef*>(held);
      },
      new storage::BufferRef(block));
}

v1::FrameHeader VersionHeader(Generation generation, Version version) {
  v1::FrameHeader header;
  header.set_generation(generation.value());
  header.set_round(version.value());
  return header;
}

v1::FrameHeader CompleteHeader(Generation generation, Version version, Generation completed_in,
                               const std::vector<Rank>& participants) {
  v1::FrameHeader header = VersionHeader(generation, version);
  header.set_kind(v1::FrameHeader::COMPLETE);
  header.set_completed_in(completed_in.value());
  ToProto(participants, header.mutable_participants());
  return header;
}

grpc::ByteBuffer BlockMessage(v1::FrameHeader header, BlockIndex index, const storage::BufferRef& block) {
  header.set_kind(v1::FrameHeader::PARAMETERS);
  header.set_block(index.value());
  header.set_dtype(v1::DTYPE_F32);
  if (block->checksum) header.set_checksum(*block->checksum);
  return wire::Encode(header, SliceOf(block));
}

}  // namespace lockstep::service
