// A stream is one identity for as long as it lives: who gives another one on it is told so, leaves nothing behind, and
// the run of the others goes on.
#include <gtest/gtest.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/convert.h"
#include "common/random_id.h"
#include "tests/integration/bad_input.h"
#include "tests/testing/messages.h"

namespace lockstep::testing {
namespace {

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(SecondIdentityTest, Member_AttachesAgainAsAnotherConnection_IsToldAndItsPlaceTakenAgain) {
  Cluster cluster({.shards = 2, .workers = 3, .flags = Flags()});
  GoodWorkers good(cluster.coordinator(), 2);
  ASSERT_TRUE(AwaitActive(cluster, 2));
  Member member;
  ASSERT_NO_FATAL_FAILURE(Enter(cluster, good.tiny().model(), member));
  const auto attach = [&] {
    return AttachHeader(member.welcome.run_id(), member.welcome.rank(), member.incarnation,
                        member.announce.generation(), member.round - 1);
  };
  v1::FrameHeader other = attach();
  other.set_connection(1);
  other.set_connections(2);
  member.data->Say(FrameOf(other));
  ExpectError(
      member.data->AwaitEnd(), kInvalid,
      {absl::StrCat("attached as rank ", member.welcome.rank()), "connection 0", "expected the same", "connection 1"});
  EXPECT_FALSE(member.membership->ended()) << "the member may try again";
  // On a stream of its own it may.
  const auto again = Guest::Call(cluster.address(0), kExchange);
  again->Say(FrameOf(attach()));
  EXPECT_TRUE(again->Hear<v1::Frame>([](const v1::Frame& frame) { return frame.header().completed_in() > 0; }));
  good.Hurry();
  ExpectGuestTrainsToTheEnd(cluster, good.tiny());
  good.ExpectReference(3);
  ExpectAllEnd(cluster);
}

TEST(SecondIdentityTest, Worker_JoinsAgainAsAnotherIncarnation_IsToldAndItsPlaceTakenAgain) {
  Cluster cluster({.shards = 2, .workers = 3, .flags = Flags()});
  GoodWorkers good(cluster.coordinator(), 2);
  ASSERT_TRUE(AwaitActive(cluster, 2));
  const uint64_t first = RandomId();
  const uint64_t second = RandomId();
  const auto guest = Guest::Call(cluster.coordinator(), kWork);
  guest->Say(JoinMessage("guest", first));
  const auto welcomed = [](const v1::WorkerCommand& command) { return command.has_welcome(); };
  ASSERT_TRUE(guest->Hear<v1::WorkerCommand>(welcomed));
  guest->Say(JoinMessage("guest", first));
  EXPECT_TRUE(guest->Hear<v1::WorkerCommand>(welcomed)) << "the same again does no harm";
  const uint64_t generation = cluster.Status().generation();
  guest->Say(JoinMessage("guest", second));
  ExpectError(guest->AwaitEnd(), kInvalid,
              {absl::StrCat("joined as incarnation ", first), absl::StrCat("incarnation ", second, " came")});
  EXPECT_EQ(cluster.Status().generation(), generation);
  good.Hurry();
  ExpectGuestTrainsToTheEnd(cluster, good.tiny());
  good.ExpectReference(3);
  ExpectAllEnd(cluster);
}

}  // namespace
}  // namespace lockstep::testing
