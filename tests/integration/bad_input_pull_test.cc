// Bad input to a shard's stream for readers. See bad_input.h.
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "tests/integration/bad_input.h"
#include "tests/testing/messages.h"

namespace lockstep::testing {
namespace {

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kDenied = absl::StatusCode::kPermissionDenied;
constexpr size_t kMostReaders = 16;  // that may wait for a version at a time

TEST_F(StrangerTest, Reader_AsksWrongly_IsToldAndTheOthersTrainOn) {
  v1::PullRequest foreign;
  foreign.set_run_id("foo");
  ExpectRefused(cluster().address(1), kPull,
                {
                    {"no request", {kNoMessage}, kInvalid, {"expected a lockstep.v1.PullRequest"}},
                    {"another run", {foreign.SerializeAsString()}, kDenied, {"foo", before().run_id()}},
                });
  ExpectNobodyNoticed();
}

// A run of one shard and one worker, which has not come yet.
class ReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(
        cluster_.Await([](const v1::Status& status) { return status.shards(0).state() == v1::ShardStatus::UP; }));
    run_id_ = cluster_.Status().run_id();
  }
  std::shared_ptr<Guest> Pull(uint64_t version) {
    v1::PullRequest request;
    request.set_run_id(run_id_);
    request.set_version(version);
    auto guest = Guest::Call(cluster_.coordinator(), kPull);
    guest->Say(request);
    return guest;
  }
  // A reader who is not refused: others may be going, and make room only then.
  std::shared_ptr<Guest> PullWhenThereIsRoom(uint64_t version) {
    std::shared_ptr<Guest> reader;
    for (int attempt = 0; attempt < 1000 && (reader == nullptr || reader->ended()); ++attempt) {
      reader = Pull(version);
      absl::SleepFor(absl::Milliseconds(20));
    }
    return reader;
  }

  Cluster cluster_{{.shards = 1, .workers = 1, .flags = Flags()}};
  std::string run_id_;
};

size_t Ended(const std::vector<std::shared_ptr<Guest>>& guests) {
  size_t ended = 0;
  for (const auto& guest : guests) ended += guest->ended() ? 1 : 0;
  return ended;
}

TEST_F(ReaderTest, Readers_AskForVersionsToCome_AreRefusedBeyondTheLimitAndTheShardLives) {
  std::vector<std::shared_ptr<Guest>> guests;
  for (uint64_t back = 0; back < 4; ++back) guests.push_back(Pull(UINT64_MAX - back));
  for (uint64_t version = 1000; version < 1040; ++version) guests.push_back(Pull(version));
  const size_t surplus = guests.size() - kMostReaders;
  for (int attempt = 0; attempt < 3000 && Ended(guests) < surplus; ++attempt) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(Ended(guests), surplus);
  for (const auto& guest : guests) {
    if (guest->ended()) ExpectError(guest->AwaitEnd(), absl::StatusCode::kResourceExhausted, {"readers"});
    guest->Cancel();
  }
  for (const auto& guest : guests) EXPECT_NE(guest->AwaitEnd().code(), absl::StatusCode::kDeadlineExceeded);

  const auto reader = PullWhenThereIsRoom(5);
  GoodWorkers good(cluster_.coordinator(), 1);
  const auto complete =
      reader->Hear<v1::Frame>([](const v1::Frame& frame) { return frame.header().completed_in() > 0; });
  ASSERT_TRUE(complete.has_value());
  EXPECT_EQ(complete->header().round(), 5u);
  good.ExpectReference(1);
  ExpectAllEnd(cluster_);
}

TEST_F(ReaderTest, Reader_AsksForAVersionThatIsGone_IsToldTheNewest) {
  GoodWorkers good(cluster_.coordinator(), 1);
  ASSERT_TRUE(cluster_.Await([](const v1::Status& status) { return status.version() > 8; }));
  ExpectError(Pull(1)->AwaitEnd(), absl::StatusCode::kOutOfRange, {"version 1 is gone", "newest"});
  good.ExpectReference(1);
  ExpectAllEnd(cluster_);
}

}  // namespace
}  // namespace lockstep::testing
