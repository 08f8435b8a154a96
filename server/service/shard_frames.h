// The frames that a shard sends, to workers and readers alike. A block's message refers to the block's own memory and
// keeps it alive until gRPC has let go of it.
//
// Thread-safety: functions. Nothing blocks or sends.
#ifndef LOCKSTEP_SERVER_SERVICE_SHARD_FRAMES_H_
#define LOCKSTEP_SERVER_SERVICE_SHARD_FRAMES_H_

#include <vector>

#include "common/ids.h"
#include "common/wire/frame.h"
#include "proto/shard.pb.h"
#include "server/storage/buffer_pool.h"

namespace lockstep::service {

v1::FrameHeader VersionHeader(Generation generation, Version version);
v1::FrameHeader CompleteHeader(Generation generation, Version version, Generation completed_in,
                               const std::vector<Rank>& participants);

// A PARAMETERS message of block `index`; `header` brings what is not of the block: the version, or also that it is
// complete.
grpc::ByteBuffer BlockMessage(v1::FrameHeader header, BlockIndex index, const storage::BufferRef& block);

// The block's values; holds a reference to the block.
grpc::Slice SliceOf(const storage::BufferRef& block);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_SHARD_FRAMES_H_
