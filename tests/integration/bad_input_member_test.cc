// Bad input to a shard's data stream, from a worker that has joined as it should: it is told, stays a member, and its
// half-sent round counts for nothing. See bad_input.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/wire/channel.h"
#include "tests/integration/bad_input.h"
#include "tests/testing/messages.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {
namespace {

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kOrder = absl::StatusCode::kFailedPrecondition;

// A contribution that is right in all, to the `slot`th block of shard 0.
v1::Frame Contribution(const Member& member, const BlockLayout& layout, uint32_t slot) {
  const BlockIndex index = layout.of_shard(ShardIndex(0))[slot];
  v1::FrameHeader header;
  header.set_kind(v1::FrameHeader::CONTRIBUTION);
  header.set_generation(member.announce.generation());
  header.set_round(member.round);
  header.set_block(index.value());
  header.set_weight(1);
  header.set_dtype(v1::DTYPE_F32);
  return FrameOf(std::move(header), std::string(layout.block(index).bytes(), '\x3f'));
}

v1::Frame Attach(const Member& member, uint64_t held) {
  return FrameOf(AttachHeader(member.welcome.run_id(), member.welcome.rank(), member.incarnation,
                              member.announce.generation(), held));
}

enum class Before { kNothing, kGoodBlock };

struct Fault {
  std::string name;
  Before before;  // what the member has sent of the round
  // Makes a good contribution a bad one; may clear it, having said something else.
  std::function<void(v1::Frame&, Member&)> spoil;
  absl::StatusCode code;
  std::vector<std::string> words;
};

template <typename Change>
std::function<void(v1::Frame&, Member&)> Header(Change change) {
  return [change](v1::Frame& frame, Member&) { change(*frame.mutable_header()); };
}

std::function<void(v1::Frame&, Member&)> Payload(size_t bytes) {
  return [bytes](v1::Frame& frame, Member&) { frame.mutable_payload()->resize(bytes, 'x'); };
}

std::function<void(v1::Frame&, Member&)> Weight(float weight) {
  return Header([weight](auto& header) { header.set_weight(weight); });
}

std::vector<Fault> FaultsOfOrder(const BlockLayout& layout) {
  const uint32_t foreign = layout.of_shard(ShardIndex(1))[3].value();
  const std::string blocks = absl::StrCat(layout.blocks().size(), " blocks");
  const std::string not_held = "shard 0 does not hold it";
  const auto no_frame = [](v1::Frame& frame, Member& member) {
    member.data->Say(kNoMessage);
    frame.Clear();
  };
  const auto attach_ahead = [](v1::Frame& frame, Member& member) { frame = Attach(member, member.round + 2); };
  const auto kind = Header([](auto& header) { header.set_kind(static_cast<v1::FrameHeader::Kind>(99)); });
  const auto future_round = Header([](auto& header) { header.set_round(header.round() + 5); });
  const auto future_generation = Header([](auto& header) { header.set_generation(header.generation() + 3); });
  const auto no_block = Header([](auto& header) { header.set_block(99999); });
  const auto foreign_block = Header([foreign](auto& header) { header.set_block(foreign); });
  // Blocks that nobody else can have brought yet. Two of them are the credit.
  const auto too_far = [layout](v1::Frame& frame, Member& member) {
    for (uint32_t slot : {10, 11}) member.data->Say(Contribution(member, layout, slot));
    frame = Contribution(member, layout, 12);
  };
  const std::vector<std::string> of_credit = {"is too far ahead in round", "while 8000 bytes", "expected at most 8000"};
  constexpr auto kNothing = Before::kNothing;
  constexpr auto kBlock = Before::kGoodBlock;
  return {
      {"beyond its credit", kNothing, too_far, kInvalid, of_credit},
      {"no frame", kBlock, no_frame, kInvalid, {"expected a lockstep.v1.Frame"}},
      {"kind 99", kBlock, kind, kInvalid, {"expected ATTACH, CONTRIBUTION", "99"}},
      {"future round", kBlock, future_round, kInvalid, {"expected round"}},
      {"future generation", kBlock, future_generation, kOrder, {"has installed generation", "attach again"}},
      {"attached ahead", kNothing, attach_ahead, kOrder, {"the worker holds version", "still being collected"}},
      {"no such block", kBlock, no_block, kInvalid, {"block 99999 came", not_held, blocks}},
      {"another's block", kNothing, foreign_block, kInvalid, {absl::StrCat("block ", foreign, " came"), not_held}},
  };
}

std::vector<Fault> FaultsOfContent() {
  const auto no_dtype = Header([](auto& header) { header.clear_dtype(); });
  const auto dtype = Header([](auto& header) { header.set_dtype(static_cast<v1::DType>(77)); });
  const auto checksum = Header([](auto& header) { header.set_checksum(0x1234); });
  const auto weighty = [](v1::Frame& frame, Member&) {
    frame.clear_payload();
    frame.mutable_header()->set_kind(v1::FrameHeader::EMPTY_CONTRIBUTION);
  };
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr auto kNothing = Before::kNothing;
  constexpr auto kBlock = Before::kGoodBlock;
  constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
  const std::string limit = absl::StrCat(wire::kMaxMessageBytes);
  return {
      {"too short",
       kBlock,
       Payload(3996),
       kInvalid,
       {"expected 1000 float32 elements (4000 bytes)", "3996 bytes came"}},
      {"too long", kNothing, Payload(4004), kInvalid, {"4000 bytes", "4004 bytes came"}},
      {"no payload", kBlock, Payload(0), kInvalid, {"0 bytes came"}},
      {"over the limit", kBlock, Payload(wire::kMaxMessageBytes), kExhausted, {limit}},
      {"no dtype", kBlock, no_dtype, kInvalid, {"expected dtype float32", "DTYPE_UNSPECIFIED"}},
      {"dtype 77", kNothing, dtype, kInvalid, {"expected dtype float32", "77"}},
      {"wrong checksum", kBlock, checksum, absl::StatusCode::kDataLoss, {"damaged", "0000000000001234"}},
      {"NaN weight", kNothing, Weight(kNan), kInvalid, {"weight nan", "expected a number from 0 to"}},
      {"infinite weight", kNothing, Weight(INFINITY), kInvalid, {"weight inf", "expected a number from 0 to"}},
      {"negative weight", kNothing, Weight(-2), kInvalid, {"weight -2", "expected a number from 0 to"}},
      {"two weights", kBlock, Weight(7), kInvalid, {"gave weight 7", "expected 1 as in its other blocks"}},
      {"empty with weight", kNothing, weighty, kInvalid, {"no payload", "only weight 0"}},
  };
}

void Commit(const Cluster& cluster, const Fault& fault, const ModelSpec& model, const BlockLayout& layout) {
  SCOPED_TRACE(fault.name);
  Member member;
  ASSERT_NO_FATAL_FAILURE(Enter(cluster, model, member));
  if (fault.before == Before::kGoodBlock) member.data->Say(Contribution(member, layout, 0));
  v1::Frame frame = Contribution(member, layout, 1);
  fault.spoil(frame, member);
  if (frame.has_header()) member.data->Say(frame);
  ExpectError(member.data->AwaitEnd(), fault.code, fault.words);
  EXPECT_FALSE(member.membership->ended()) << "the member may try again";
}

// Holds the guest's place as a good worker for some rounds, and crashes.
void TrainForAWhile(const Cluster& cluster, const Tiny& tiny, int rounds) {
  TrainOptions options{.coordinator = cluster.coordinator(), .name = "guest", .rounds = kRounds};
  options.before = [&](Worker&, uint64_t) { return rounds-- > 0; };
  Tiny::Values values;
  EXPECT_TRUE(absl::IsCancelled(Train(tiny, options, values)));
}

// A run of three, of whom the guest is the third.
class MemberTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(AwaitActive(cluster_, 2)) << cluster_.Status().DebugString();
    const auto layout = BlockLayout::Create(good_.tiny().model(), 2, kBlockElements);
    ASSERT_TRUE(layout.ok()) << layout.status();
    layout_.emplace(*layout);
  }
  void CommitAll(const std::vector<Fault>& faults) {
    for (size_t i = 0; i < faults.size(); ++i) {
      ASSERT_NO_FATAL_FAILURE(Commit(cluster_, faults[i], good_.tiny().model(), *layout_));
      if (i % 6 == 0) TrainForAWhile(cluster_, good_.tiny(), 5);
    }
  }
  void ExpectPlaceTakenAgain() {
    for (uint32_t s = 0; s < 2; ++s) EXPECT_EQ(cluster_.shard(s).Poll(), -1) << "shard " << s << " has ended";
    good_.Hurry();
    ExpectGuestTrainsToTheEnd(cluster_, good_.tiny());
    good_.ExpectReference(3);
    ExpectAllEnd(cluster_);
  }

  Cluster cluster_{{.shards = 2, .workers = 3, .flags = Flags()}};
  GoodWorkers good_{cluster_.coordinator(), 2};
  std::optional<BlockLayout> layout_;
};

TEST_F(MemberTest, Member_SendsOutOfOrder_IsToldAndItsPlaceTakenAgain) {
  ASSERT_NO_FATAL_FAILURE(CommitAll(FaultsOfOrder(*layout_)));
  ExpectPlaceTakenAgain();
}

TEST_F(MemberTest, Member_SendsBadContent_IsToldAndItsPlaceTakenAgain) {
  ASSERT_NO_FATAL_FAILURE(CommitAll(FaultsOfContent()));
  ExpectPlaceTakenAgain();
}

// A good contribution with some bits of its header flipped, or its end cut off. Never to the last blocks: the round of
// this generation must not come to an end with what is sent here.
std::string Mutation(Random& random, const Member& member, const BlockLayout& layout) {
  std::string bytes = Contribution(member, layout, static_cast<uint32_t>(Uniform(random, 0, 9))).SerializeAsString();
  const size_t header = std::min<size_t>(bytes.size(), 40);
  for (uint64_t flips = Uniform(random, 0, 3); flips > 0; --flips) {
    bytes[Uniform(random, 0, header - 1)] ^= static_cast<char>(1 << Uniform(random, 0, 7));
  }
  if (random() % 8 == 0) bytes.resize(Uniform(random, 0, bytes.size()));
  return bytes;
}

TEST_F(MemberTest, Member_SendsMutations_ItsPlaceIsTakenAgain) {
  Random random(PrintedSeed());
  Member member;
  ASSERT_NO_FATAL_FAILURE(Enter(cluster_, good_.tiny().model(), member));
  for (int i = 0; i < 200; ++i) {
    if (member.data->ended()) {
      member.data = Guest::Call(cluster_.address(0), kExchange);
      member.data->Say(Attach(member, member.round - 1));
    }
    member.data->Say(Mutation(random, member, *layout_));
  }
  member.data->Say(kNoMessage);
  EXPECT_NE(member.data->AwaitEnd().code(), absl::StatusCode::kDeadlineExceeded);
  ExpectPlaceTakenAgain();
}

}  // namespace
}  // namespace lockstep::testing
