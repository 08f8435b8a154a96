#include "common/wire/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/testing/seeds.h"

namespace lockstep::wire {
namespace {

using ::testing::AllOf;
using testing::ForEachSeed;
using ::testing::HasSubstr;
using testing::Random;
using testing::RandomBytes;
using testing::Uniform;

// One slice with all of the bytes.
grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// The bytes cut at random places, some slices empty.
grpc::ByteBuffer CutAtRandom(const std::string& bytes, Random& random) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size() || slices.empty();) {
    const size_t most = std::min<size_t>(bytes.size() - at, uint64_t{1} << Uniform(random, 0, 12));
    const size_t size = Uniform(random, 0, most);
    slices.emplace_back(bytes.data() + at, size);
    at += size;
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

std::string PayloadOf(const Frame& frame) {
  std::string bytes(frame.payload_bytes, '\0');
  CopyPayload(frame, bytes.data());
  return bytes;
}

v1::FrameHeader RandomHeader(Random& random) {
  v1::FrameHeader header;
  header.set_kind(static_cast<v1::FrameHeader::Kind>(Uniform(random, 0, 5)));
  header.set_generation(random() >> Uniform(random, 0, 63));
  header.set_round(random() >> Uniform(random, 0, 63));
  header.set_block(static_cast<uint32_t>(random()));
  header.set_weight(testing::RandomFloat(random));
  header.set_dtype(v1::DTYPE_F32);
  if (random() % 2 == 0) header.set_checksum(random());
  if (random() % 2 == 0) header.set_run_id("0123456789abcdef");
  for (uint64_t i = Uniform(random, 0, 5); i > 0; --i) header.add_participants(static_cast<uint32_t>(i));
  return header;
}

v1::FrameHeader BlockHeader() {
  v1::FrameHeader header;
  header.set_kind(v1::FrameHeader::CONTRIBUTION);
  header.set_generation(3);
  header.set_round(17);
  header.set_block(5);
  header.set_weight(2);
  header.set_dtype(v1::DTYPE_F32);
  return header;
}

// ---- Whole frames ----

TEST(FrameTest, Frame_InRandomSlices_ComesBackTheSame) {
  ForEachSeed(300, [](Random& random) {
    const v1::FrameHeader header = RandomHeader(random);
    const std::string payload = RandomBytes(random, Uniform(random, 0, uint64_t{1} << Uniform(random, 0, 14)));
    const grpc::ByteBuffer encoded = payload.empty() ? Encode(header) : Encode(header, grpc::Slice(payload));
    Frame frame;
    const absl::Status status = Decode(CutAtRandom(BytesOf(encoded), random), frame);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(frame.header.SerializeAsString(), header.SerializeAsString());
    ASSERT_EQ(frame.payload_bytes, payload.size());
    ASSERT_EQ(PayloadOf(frame), payload);
  });
}

TEST(FrameTest, Encode_AnyFrame_IsReadByProtobuf) {
  ForEachSeed(200, [](Random& random) {
    const v1::FrameHeader header = RandomHeader(random);
    const std::string payload = RandomBytes(random, Uniform(random, 0, 5000));
    v1::Frame parsed;
    ASSERT_TRUE(parsed.ParseFromString(BytesOf(Encode(header, grpc::Slice(payload)))));
    ASSERT_EQ(parsed.header().SerializeAsString(), header.SerializeAsString());
    ASSERT_EQ(parsed.payload(), payload);
  });
}

TEST(FrameTest, Decode_OfWhatProtobufWrote_GivesTheSame) {
  ForEachSeed(200, [](Random& random) {
    v1::Frame written;
    *written.mutable_header() = RandomHeader(random);
    written.set_payload(RandomBytes(random, Uniform(random, 0, 5000)));
    Frame frame;
    const absl::Status status = Decode(CutAtRandom(written.SerializeAsString(), random), frame);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(frame.header.SerializeAsString(), written.header().SerializeAsString());
    ASSERT_EQ(PayloadOf(frame), written.payload());
  });
}

TEST(FrameTest, Decode_IntoAUsedFrame_ForgetsTheOld) {
  Frame frame;
  v1::FrameHeader old = BlockHeader();
  old.set_checksum(1);
  ASSERT_TRUE(Decode(Encode(old, grpc::Slice("12345678")), frame).ok());
  ASSERT_TRUE(Decode(Encode(v1::FrameHeader()), frame).ok());
  EXPECT_EQ(frame.payload_bytes, 0u);
  EXPECT_TRUE(frame.payload.empty());
  EXPECT_FALSE(frame.header.has_checksum());
}

TEST(FrameTest, Fields_Unknown_AreSkipped) {
  const std::string unknown_varint = "\x78\x05";                          // field 15, 5
  const std::string unknown_bytes = std::string("\x82\x01\x03") + "abc";  // field 16
  v1::Frame frame;
  *frame.mutable_header() = BlockHeader();
  const std::string header = frame.SerializeAsString();
  frame.Clear();
  frame.set_payload("abcd");
  const std::string payload = frame.SerializeAsString();
  Frame decoded;
  const absl::Status status = Decode(BufferOf(unknown_varint + header + unknown_bytes + payload), decoded);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(decoded.header.round(), 17u);
  EXPECT_EQ(PayloadOf(decoded), "abcd");
}

// ---- Memory ----

TEST(FrameTest, Payload_InMemory_IsNeverCopied) {
  const std::vector<float> values(4096, 1.5f);
  const grpc::Slice payload(values.data(), values.size() * sizeof(float), grpc::Slice::STATIC_SLICE);
  const grpc::ByteBuffer encoded = Encode(BlockHeader(), payload);
  Frame frame;
  ASSERT_TRUE(Decode(encoded, frame).ok());
  ASSERT_EQ(frame.payload.size(), 1u);
  EXPECT_EQ(static_cast<const void*>(frame.payload[0].begin()), static_cast<const void*>(values.data()));
}

TEST(FrameTest, Payload_BehindItsHeaderInOneSlice_SharesThatSlice) {
  const grpc::Slice whole(BytesOf(Encode(BlockHeader(), grpc::Slice(std::string(100'000, 'x')))));
  Frame frame;
  ASSERT_TRUE(Decode(grpc::ByteBuffer(&whole, 1), frame).ok());
  ASSERT_EQ(frame.payload.size(), 1u);
  EXPECT_EQ(frame.payload[0].end(), whole.end());
  EXPECT_EQ(frame.payload[0].begin(), whole.end() - 100'000);
}

TEST(FrameTest, Payload_OutlivesTheMessageItCameIn) {
  Frame frame;
  {
    const grpc::ByteBuffer message = BufferOf(BytesOf(Encode(BlockHeader(), grpc::Slice(std::string(9000, 'y')))));
    ASSERT_TRUE(Decode(message, frame).ok());
  }
  EXPECT_EQ(PayloadOf(frame), std::string(9000, 'y'));
}

TEST(LendTest, Slice_WhenTheLastCopyIsGone_IsReleasedOnce) {
  const std::vector<float> values(1000, 2.0f);
  int released = 0;
  {
    Frame frame;
    {
      const grpc::ByteBuffer message =
          Encode(BlockHeader(), Lend(
                                    values.data(), 4000, [](void* count) { ++*static_cast<int*>(count); }, &released));
      const grpc::ByteBuffer copy = message;
      ASSERT_TRUE(Decode(copy, frame).ok());
      EXPECT_EQ(released, 0);
    }
    EXPECT_EQ(released, 0) << "the frame still refers to it";
    EXPECT_EQ(static_cast<const void*>(frame.payload[0].begin()), static_cast<const void*>(values.data()));
  }
  EXPECT_EQ(released, 1);
}

// ---- Damage ----

// CodedInputStream cuts a tag to 32 bits where the generated parser refuses it; such a tag takes more than five bytes.
bool MayHaveALongTag(const std::string& bytes) {
  size_t run = 0;
  for (char byte : bytes) {
    run = (byte & 0x80) != 0 ? run + 1 : 0;
    if (run >= 5) return true;
  }
  return false;
}

// Whatever the bytes: a clear error, or what protobuf reads.
void ExpectErrorOrProtobufs(const std::string& bytes, const grpc::ByteBuffer& message) {
  Frame frame;
  const absl::Status status = Decode(message, frame);
  if (!status.ok()) {
    ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    ASSERT_THAT(std::string(status.message()), HasSubstr("expected a lockstep.v1.Frame"));
    return;
  }
  v1::Frame parsed;
  if (!parsed.ParseFromString(bytes) && MayHaveALongTag(bytes)) return;
  ASSERT_TRUE(parsed.ParseFromString(bytes)) << "accepted what protobuf refuses: " << absl::BytesToHexString(bytes);
  ASSERT_EQ(frame.header.SerializeAsString(), parsed.header().SerializeAsString());
  ASSERT_EQ(PayloadOf(frame), parsed.payload());
}

TEST(DamageTest, Frame_CutOffAnywhere_IsRefused) {
  v1::FrameHeader header = BlockHeader();
  header.set_checksum(7);
  const std::string bytes = BytesOf(Encode(header, grpc::Slice(std::string(400, 'p'))));
  for (size_t size = 0; size < bytes.size(); ++size) {
    SCOPED_TRACE(size);
    Frame frame;
    const absl::Status status = Decode(BufferOf(bytes.substr(0, size)), frame);
    // Cut at the end of a field, a Frame without payload remains: then the payload's size is wrong.
    ASSERT_EQ((status.ok() ? CheckPayload(frame, 100) : status).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(DamageTest, Bits_FlippedAtRandom_AreRefusedOrReadAsProtobufReads) {
  ForEachSeed(3000, [](Random& random) {
    const std::string payload = RandomBytes(random, Uniform(random, 0, 64) * 4);
    std::string bytes = BytesOf(Encode(RandomHeader(random), grpc::Slice(payload)));
    for (uint64_t flips = Uniform(random, 1, 4); flips > 0; --flips) {
      bytes[Uniform(random, 0, bytes.size() - 1)] ^= static_cast<char>(1 << Uniform(random, 0, 7));
    }
    ExpectErrorOrProtobufs(bytes, CutAtRandom(bytes, random));
  });
}

TEST(DamageTest, Bytes_AtRandom_AreRefusedOrReadAsProtobufReads) {
  ForEachSeed(3000, [](Random& random) {
    std::string bytes = RandomBytes(random, Uniform(random, 0, 40));
    if (!bytes.empty() && random() % 2 == 0) bytes[0] = random() % 2 == 0 ? '\x0A' : '\x12';
    ExpectErrorOrProtobufs(bytes, CutAtRandom(bytes, random));
  });
}

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

TEST(DamageTest, Lengths_ThatLie_AreRefused) {
  const std::string header = BlockHeader().SerializeAsString();
  const std::string good = "\x0A" + Varint(header.size()) + header;
  for (const uint64_t lie : {uint64_t{0x7F}, uint64_t{0x7FFFFFFF}, uint64_t{0x80000000}, uint64_t{0xFFFFFFFF},
                             uint64_t{1} << 40, UINT64_MAX}) {
    SCOPED_TRACE(lie);
    Frame frame;
    EXPECT_EQ(Decode(BufferOf("\x0A" + Varint(lie) + header), frame).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(Decode(BufferOf(good + "\x12" + Varint(lie) + "1234"), frame).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(DamageTest, Payload_OfAnotherLength_SaysBoth) {
  Frame frame;
  const absl::Status status = Decode(BufferOf(std::string("\x12\x08") + "12345"), frame);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("8 bytes"), HasSubstr("5 follow")));
}

TEST(DamageTest, Payload_NotLast_IsRefused) {
  const std::string header = BlockHeader().SerializeAsString();
  Frame frame;
  const absl::Status status =
      Decode(BufferOf(std::string("\x12\x04") + "1234" + "\x0A" + Varint(header.size()) + header), frame);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("payload as the last field"));
}

TEST(DamageTest, Message_Empty_HasNoKind) {
  Frame frame;
  ASSERT_TRUE(Decode(BufferOf(""), frame).ok()) << "protobuf takes it for a Frame of defaults";
  EXPECT_EQ(frame.header.kind(), v1::FrameHeader::KIND_UNSPECIFIED);
}

// ---- CheckPayload ----

Frame Decoded(const v1::FrameHeader& header, const std::string& payload) {
  Frame frame;
  EXPECT_TRUE(Decode(Encode(header, grpc::Slice(payload)), frame).ok());
  return frame;
}

TEST(CheckPayloadTest, Payload_AsExpected_IsOk) {
  v1::FrameHeader header = BlockHeader();
  const std::string payload(40, 'z');
  EXPECT_TRUE(CheckPayload(Decoded(header, payload), 10).ok());
  const grpc::Slice slice(payload);
  header.set_checksum(Checksum({&slice, 1}));
  EXPECT_TRUE(CheckPayload(Decoded(header, payload), 10).ok());
}

TEST(CheckPayloadTest, Size_Wrong_SaysExpectedAndCame) {
  const absl::Status status = CheckPayload(Decoded(BlockHeader(), std::string(36, 'z')), 10);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("block 5 of round 17"), HasSubstr("expected 10 float32"),
                                                   HasSubstr("40 bytes"), HasSubstr("36 bytes came")));
}

TEST(CheckPayloadTest, Dtype_Wrong_SaysExpectedAndCame) {
  for (const auto dtype : {v1::DTYPE_UNSPECIFIED, static_cast<v1::DType>(77)}) {
    v1::FrameHeader header = BlockHeader();
    header.set_dtype(dtype);
    const absl::Status status = CheckPayload(Decoded(header, std::string(40, 'z')), 10);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("expected dtype float32"),
                                                     HasSubstr(absl::StrCat(dtype)), HasSubstr("block 5 of round 17")));
  }
}

TEST(CheckPayloadTest, Checksum_Wrong_IsDataLossWithBothValues) {
  v1::FrameHeader header = BlockHeader();
  const std::string payload(40, 'z');
  const grpc::Slice slice(payload);
  header.set_checksum(0x0123);
  const absl::Status status = CheckPayload(Decoded(header, payload), 10);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("0000000000000123"), HasSubstr(absl::StrCat(absl::Hex(Checksum({&slice, 1}), absl::kZeroPad16))),
            HasSubstr("block 5 of round 17")));
}

TEST(CheckPayloadTest, Bit_FlippedAnywhere_IsDataLoss) {
  ForEachSeed(200, [](Random& random) {
    std::string payload = RandomBytes(random, 4 * Uniform(random, 1, 300));
    v1::FrameHeader header = BlockHeader();
    const grpc::Slice slice(payload);
    header.set_checksum(Checksum({&slice, 1}));
    const auto elements = static_cast<int64_t>(payload.size() / 4);
    payload[Uniform(random, 0, payload.size() - 1)] ^= static_cast<char>(1 << Uniform(random, 0, 7));
    ASSERT_EQ(CheckPayload(Decoded(header, payload), elements).code(), absl::StatusCode::kDataLoss);
  });
}

TEST(ChecksumTest, Slices_CutAnywhere_GiveTheSameChecksum) {
  ForEachSeed(100, [](Random& random) {
    const std::string bytes = RandomBytes(random, Uniform(random, 1, 5000));
    const grpc::Slice whole(bytes);
    std::vector<grpc::Slice> parts;
    ASSERT_TRUE(CutAtRandom(bytes, random).Dump(&parts).ok());
    ASSERT_EQ(Checksum(parts), Checksum({&whole, 1}));
  });
}

}  // namespace
}  // namespace lockstep::wire
