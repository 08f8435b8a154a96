// The codec of the data path: a Frame (proto/shard.proto) as a gRPC byte buffer, without copying its payload.
//
//   bytes on the wire:  0x0A, length, FrameHeader | 0x12, length, payload      (a valid lockstep.v1.Frame)
//                       `--- a slice of its own --'  `-- slices of the caller --'
//
// Thread-safety: functions and values.
#ifndef LOCKSTEP_COMMON_WIRE_FRAME_H_
#define LOCKSTEP_COMMON_WIRE_FRAME_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "proto/shard.pb.h"

namespace lockstep::wire {

// Payload bytes in order, each slice a reference to memory that gRPC or we received or lent.
using Slices = absl::InlinedVector<grpc::Slice, 4>;

struct Frame {
  v1::FrameHeader header;
  Slices payload;
  size_t payload_bytes = 0;
};

// A message without payload.
grpc::ByteBuffer Encode(const v1::FrameHeader& header);
// A message whose payload is `payload` itself: its memory must stay unchanged until gRPC has let go of the slice.
grpc::ByteBuffer Encode(const v1::FrameHeader& header, const grpc::Slice& payload);

// Splits a message into header and payload slices; the slices share the buffer's memory and keep it alive.
// INVALID_ARGUMENT when the message is no Frame, or its payload is not the last field.
absl::Status Decode(const grpc::ByteBuffer& message, Frame& frame);

// XXH3-64 of the payload.
uint64_t Checksum(std::span<const grpc::Slice> payload);

// INVALID_ARGUMENT unless the payload has `elements` float32 elements; DATA_LOSS when it does not match its checksum.
absl::Status CheckPayload(const Frame& frame, int64_t elements);

// Copies the payload to `out`, which has frame.payload_bytes bytes.
void CopyPayload(const Frame& frame, void* out);

// A slice over memory that the caller keeps, with `release(argument)` called when gRPC has let go of it.
grpc::Slice Lend(const void* data, size_t size, void (*release)(void*), void* argument);

}  // namespace lockstep::wire

#endif  // LOCKSTEP_COMMON_WIRE_FRAME_H_
