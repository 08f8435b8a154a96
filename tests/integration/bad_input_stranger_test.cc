// Bad input to a shard's data stream, from peers that hold no place in the run. See bad_input.h.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/wire/channel.h"
#include "tests/integration/bad_input.h"
#include "tests/testing/messages.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {
namespace {

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kDenied = absl::StatusCode::kPermissionDenied;

// First messages that are no ATTACH.
std::vector<Stranger> WithoutAttach() {
  const auto kind = [](v1::FrameHeader::Kind kind) {
    v1::FrameHeader header;
    header.set_kind(kind);
    return std::vector<std::string>{FrameOf(header, "12345678").SerializeAsString()};
  };
  return {
      {"no frame", {kNoMessage}, kInvalid, {"expected a lockstep.v1.Frame"}},
      {"contribution first", kind(v1::FrameHeader::CONTRIBUTION), kInvalid, {"expected ATTACH"}},
      {"empty first", kind(v1::FrameHeader::EMPTY_CONTRIBUTION), kInvalid, {"expected ATTACH"}},
      {"parameters", kind(v1::FrameHeader::PARAMETERS), kInvalid, {"expected ATTACH", "PARAMETERS"}},
      {"kind 99", kind(static_cast<v1::FrameHeader::Kind>(99)), kInvalid, {"expected ATTACH", "99"}},
  };
}

// An ATTACH that is not as it should be.
std::vector<Stranger> WithBadAttach(const v1::Status& status) {
  const v1::FrameHeader good = AttachHeader(status.run_id(), 0, 4711, status.generation(), 0);
  const auto attach = [&](auto change) {
    v1::FrameHeader header = good;
    change(header);
    return std::vector<std::string>{FrameOf(header).SerializeAsString()};
  };
  const auto foreign = attach([](auto& header) { header.set_run_id("feedbeef"); });
  const auto no_run = attach([](auto& header) { header.clear_run_id(); });
  const auto same = attach([](auto&) {});
  const auto no_rank = attach([](auto& header) { header.set_rank(77); });
  const auto future = attach([](auto& header) { header.set_generation(1000); });
  const auto no_connections = attach([](auto& header) { header.set_connections(0); });
  const auto many_connections = attach([](auto& header) { header.set_connections(4'000'000'000); });
  const auto beyond_connections = attach([](auto& header) {
    header.set_connection(3);
    header.set_connections(2);
  });
  const std::string payload_first = std::string("\x12\x04") + "1234" + FrameOf(good).SerializeAsString();
  const std::string too_big = FrameOf(good, std::string(wire::kMaxMessageBytes, 'x')).SerializeAsString();
  const std::string generation = absl::StrCat(status.generation());
  constexpr auto kOrder = absl::StatusCode::kFailedPrecondition;
  return {
      {"another run", foreign, absl::StatusCode::kAborted, {"feedbeef", status.run_id()}},
      {"no run", no_run, absl::StatusCode::kAborted, {status.run_id()}},
      {"wrong incarnation", same, kDenied, {"fenced", "rank 0", generation}},
      {"no such rank", no_rank, kDenied, {"rank 77"}},
      {"future generation", future, kOrder, {absl::StrCat("generation ", generation), "1000"}},
      {"connection out of range", beyond_connections, kInvalid, {"expected 1 to 64", "connection 3 of 2"}},
      {"no connections", no_connections, kInvalid, {"connection 0 of 0"}},
      {"too many connections", many_connections, kInvalid, {"of 4000000000"}},
      {"payload before the header", {payload_first}, kInvalid, {"payload as the last field"}},
      {"over the limit", {too_big}, absl::StatusCode::kResourceExhausted, {absl::StrCat(wire::kMaxMessageBytes)}},
  };
}

TEST_F(StrangerTest, Stranger_BeginsWithoutAttach_IsToldAndTheOthersTrainOn) {
  ExpectRefused(cluster().address(1), kExchange, WithoutAttach());
  ExpectNobodyNoticed();
}

TEST_F(StrangerTest, Stranger_AttachesWrongly_IsToldAndTheOthersTrainOn) {
  ExpectRefused(cluster().address(1), kExchange, WithBadAttach(before()));
  ExpectNobodyNoticed();
}

// Random bytes, or an ATTACH with one of its bytes changed.
std::string RandomMessage(Random& random, const std::string& run_id) {
  std::string bytes = RandomBytes(random, Uniform(random, 0, 64));
  if (random() % 2 == 0) return bytes;
  const v1::FrameHeader attach = AttachHeader(run_id, static_cast<uint32_t>(Uniform(random, 0, 2)), random(),
                                              Uniform(random, 0, 2), Uniform(random, 0, 50));
  bytes = FrameOf(attach, RandomBytes(random, Uniform(random, 0, 64))).SerializeAsString();
  if (random() % 2 == 0) bytes[1 + Uniform(random, 0, bytes.size() - 2)] = static_cast<char>(random());
  return bytes;
}

TEST_F(StrangerTest, Stranger_SendsRandomBytes_ChangesNothing) {
  Random random(PrintedSeed());
  for (int i = 0; i < 300; ++i) {
    const auto guest = Guest::Call(cluster().address(static_cast<uint32_t>(i % 2)), kExchange);
    for (uint64_t messages = Uniform(random, 1, 4); messages > 0; --messages) {
      guest->Say(RandomMessage(random, before().run_id()));
    }
    guest->Say(kNoMessage);
    EXPECT_NE(guest->AwaitEnd().code(), absl::StatusCode::kDeadlineExceeded) << "stranger " << i;
  }
  ExpectNobodyNoticed();
}

}  // namespace
}  // namespace lockstep::testing
