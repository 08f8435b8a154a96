#include "common/wire/frame.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#define XXH_STATIC_LINKING_ONLY  // for XXH3_state_t on the stack
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // XXH3_* below become the widest that this CPU has
#endif

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lockstep::wire {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

constexpr uint32_t kHeaderTag = WireFormatLite::MakeTag(1, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kPayloadTag = WireFormatLite::MakeTag(2, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr size_t kMostPrefix = 2 * (1 + 10);  // two tags of a byte, two varints

grpc::Slice EncodePrefix(const v1::FrameHeader& header, size_t payload_bytes) {
  const size_t header_bytes = header.ByteSizeLong();
  grpc_slice raw = grpc_slice_malloc(header_bytes + kMostPrefix);
  uint8_t* const begin = GRPC_SLICE_START_PTR(raw);
  uint8_t* at = CodedOutputStream::WriteTagToArray(kHeaderTag, begin);
  at = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(header_bytes), at);
  at = header.SerializeWithCachedSizesToArray(at);
  if (payload_bytes > 0) {
    at = CodedOutputStream::WriteTagToArray(kPayloadTag, at);
    at = CodedOutputStream::WriteVarint64ToArray(payload_bytes, at);
  }
  GRPC_SLICE_SET_LENGTH(raw, static_cast<size_t>(at - begin));
  return grpc::Slice(raw, grpc::Slice::STEAL_REF);
}

absl::Status NotAFrame(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("expected a lockstep.v1.Frame (header, then payload as the last field), but ", what));
}

// Leaves the stream before the payload's first byte and its length in `payload_bytes`, or at the end of the message.
absl::Status ReadFields(CodedInputStream& in, size_t message_bytes, v1::FrameHeader& header, size_t& payload_bytes) {
  payload_bytes = 0;
  while (const uint32_t tag = in.ReadTag()) {
    if (tag == kPayloadTag) {
      uint64_t length = 0;
      if (!in.ReadVarint64(&length)) return NotAFrame("the payload's length is cut off");
      payload_bytes = length;
      return absl::OkStatus();
    }
    if (tag == kHeaderTag) {
      uint64_t length = 0;
      if (!in.ReadVarint64(&length)) return NotAFrame("the header's length is cut off");
      if (length > message_bytes - static_cast<size_t>(in.CurrentPosition())) return NotAFrame("the header is cut off");
      const CodedInputStream::Limit limit = in.PushLimit(static_cast<int>(length));
      if (!header.MergeFromCodedStream(&in) || !in.ConsumedEntireMessage() || in.BytesUntilLimit() > 0) {
        return NotAFrame("the header does not parse");
      }
      in.PopLimit(limit);
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return NotAFrame("it does not parse");
    }
  }
  return in.ConsumedEntireMessage() ? absl::OkStatus() : NotAFrame("it does not parse");
}

void TakePayload(const grpc::ByteBuffer& message, size_t skip, Slices& payload) {
  std::vector<grpc::Slice> slices;
  message.Dump(&slices);
  for (grpc::Slice& slice : slices) {
    if (skip >= slice.size()) {
      skip -= slice.size();
    } else {
      payload.push_back(skip == 0 ? std::move(slice) : slice.sub(skip, slice.size()));
      skip = 0;
    }
  }
}

}  // namespace

grpc::ByteBuffer Encode(const v1::FrameHeader& header) {
  const grpc::Slice prefix = EncodePrefix(header, 0);
  return grpc::ByteBuffer(&prefix, 1);
}

grpc::ByteBuffer Encode(const v1::FrameHeader& header, const grpc::Slice& payload) {
  const grpc::Slice slices[] = {EncodePrefix(header, payload.size()), payload};
  return grpc::ByteBuffer(slices, 2);
}

absl::Status Decode(const grpc::ByteBuffer& message, Frame& frame) {
  frame.header.Clear();
  frame.payload.clear();
  grpc::ByteBuffer shared = message;  // the reader wants a mutable one; this shares the slices
  grpc::ProtoBufferReader reader(&shared);
  if (!reader.status().ok()) return NotAFrame("it cannot be read");
  size_t position = 0;
  {
    CodedInputStream in(&reader);
    if (absl::Status status = ReadFields(in, message.Length(), frame.header, frame.payload_bytes); !status.ok()) {
      return status;
    }
    position = static_cast<size_t>(in.CurrentPosition());
  }
  const size_t rest = message.Length() - position;
  if (frame.payload_bytes != rest) {
    return NotAFrame(absl::StrCat("its payload should have ", frame.payload_bytes, " bytes and ", rest, " follow"));
  }
  if (rest > 0) TakePayload(message, position, frame.payload);
  return absl::OkStatus();
}

uint64_t Checksum(std::span<const grpc::Slice> payload) {
  if (payload.size() == 1) return XXH3_64bits(payload[0].begin(), payload[0].size());
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  for (const grpc::Slice& slice : payload) {
    XXH3_64bits_update(&state, slice.begin(), slice.size());
  }
  return XXH3_64bits_digest(&state);
}

absl::Status CheckPayload(const Frame& frame, int64_t elements) {
  const v1::FrameHeader& header = frame.header;
  const auto where = [&] { return absl::StrCat("block ", header.block(), " of round ", header.round()); };
  if (header.dtype() != v1::DTYPE_F32) {
    return absl::InvalidArgumentError(absl::StrCat(where(), ": expected dtype float32, but ",
                                                   v1::DType_Name(header.dtype()), " (number ", header.dtype(),
                                                   ") came"));
  }
  if (frame.payload_bytes != static_cast<size_t>(elements) * sizeof(float)) {
    return absl::InvalidArgumentError(absl::StrCat(where(), ": expected ", elements, " float32 elements (",
                                                   elements * sizeof(float), " bytes), but ", frame.payload_bytes,
                                                   " bytes came"));
  }
  if (!header.has_checksum()) return absl::OkStatus();
  const uint64_t checksum = Checksum({frame.payload.data(), frame.payload.size()});
  if (checksum == header.checksum()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(where(), ": the payload was damaged on the way: expected XXH3-64 ",
                                          absl::Hex(header.checksum(), absl::kZeroPad16), ", but its bytes have ",
                                          absl::Hex(checksum, absl::kZeroPad16)));
}

void CopyPayload(const Frame& frame, void* out) {
  char* at = static_cast<char*>(out);
  for (const grpc::Slice& slice : frame.payload) {
    std::memcpy(at, slice.begin(), slice.size());
    at += slice.size();
  }
}

grpc::Slice Lend(const void* data, size_t size, void (*release)(void*), void* argument) {
  return grpc::Slice(const_cast<void*>(data), size, release, argument);
}

}  // namespace lockstep::wire
