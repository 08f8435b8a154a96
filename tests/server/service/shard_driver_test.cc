#include "server/service/shard_driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/service/one_shard.h"

namespace lockstep::service {
namespace {

using ::testing::HasSubstr;

// A reader that takes its frames when it likes.
class FakeReader : public PullStream {
 public:
  void Serve(std::vector<grpc::ByteBuffer> frames) override { served_ = std::move(frames); }
  void Refuse(const absl::Status& status, std::optional<uint64_t> newest) override {
    refused_ = status;
    newest_ = newest;
  }
  bool ended() override { return ended_; }

  void End() { ended_ = true; }
  size_t frames() const { return served_.size(); }
  const absl::Status& refused() const { return refused_; }
  std::optional<uint64_t> newest() const { return newest_; }

 private:
  std::vector<grpc::ByteBuffer> served_;
  absl::Status refused_;
  std::optional<uint64_t> newest_;
  bool ended_ = false;
};

// One shard with one worker and a model of two blocks, without a network: its streams are never opened.
class ShardDriverTest : public ::testing::Test {
 protected:
  explicit ShardDriverTest(uint64_t machine_bytes = uint64_t{1} << 40)
      : driver_({.shard = ShardIndex(0), .self = Incarnation(kSelf), .machine_bytes = machine_bytes},
                [this](v1::ShardMessage message) { answers_.push_back(std::move(message)); }),
        stream_(std::make_shared<ExchangeStream>(&driver_)) {}

  void Install(uint64_t generation, uint64_t credit_bytes = 0, uint32_t workers = 1) {
    driver_.Seal(MakeSeal(generation));
    v1::Install install = MakeInstall(generation, /*resume=*/0, workers);
    install.mutable_run()->set_credit_bytes(credit_bytes);
    driver_.Install(install);
  }
  void Say(v1::FrameHeader header, const std::string& payload = "") {
    const grpc::Slice slice(payload);
    grpc::ByteBuffer message = payload.empty() ? wire::Encode(header) : wire::Encode(header, slice);
    driver_.OnFrame(stream_, message);
  }
  void Attach() { Say(AttachFrame(/*generation=*/1, /*next=*/0)); }
  void Contribute(uint64_t round) {
    for (uint32_t block = 0; block < kBlocks; ++block) Say(ContributionFrame(1, round, block), BlockPayload());
  }
  // A shard that has just completed version 0.
  void Start() {
    driver_.Welcome("run");
    Install(1);
    Attach();
    Contribute(0);
    ASSERT_EQ(driver_.Report().next_round(), 1u);
  }
  std::shared_ptr<FakeReader> Pull(uint64_t version) {
    v1::PullRequest request;
    request.set_run_id("run");
    request.set_version(version);
    auto reader = std::make_shared<FakeReader>();
    driver_.Pull(request, reader);
    return reader;
  }

  std::vector<v1::ShardMessage> answers_;
  ShardDriver driver_;
  std::shared_ptr<ExchangeStream> stream_;
};

constexpr size_t kFramesOfAVersion = kBlocks + 1;  // and COMPLETE

TEST_F(ShardDriverTest, Reader_OfTheNewestVersion_IsServed) {
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(Pull(0)->frames(), kFramesOfAVersion);
}

TEST_F(ShardDriverTest, Readers_BeingServed_AreLimitedUntilOneEnds) {
  ASSERT_NO_FATAL_FAILURE(Start());
  std::vector<std::shared_ptr<FakeReader>> readers;
  for (size_t i = 0; i < Readers::kMost; ++i) {
    readers.push_back(Pull(0));
    ASSERT_EQ(readers.back()->frames(), kFramesOfAVersion) << "reader " << i;
  }
  const auto refused = Pull(0);
  EXPECT_EQ(refused->frames(), 0u);
  EXPECT_EQ(refused->refused().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused->refused().message()), HasSubstr(absl::StrCat(Readers::kMost, " readers")));
  EXPECT_FALSE(refused->newest().has_value());
  // Training goes on past them, and they keep their places: what they hold on to is beyond the rounds' memory.
  Contribute(1);
  ASSERT_EQ(driver_.Report().next_round(), 2u);
  EXPECT_EQ(Pull(1)->refused().code(), absl::StatusCode::kResourceExhausted);
  readers[3]->End();
  EXPECT_EQ(Pull(1)->frames(), kFramesOfAVersion);
}

TEST_F(ShardDriverTest, Readers_ServedAfterTheyHaveWaited_CountTwoWaysButOnce) {
  ASSERT_NO_FATAL_FAILURE(Start());
  std::vector<std::shared_ptr<FakeReader>> readers;
  for (size_t i = 0; i + 1 < Readers::kMost; ++i) readers.push_back(Pull(1));
  Contribute(1);
  for (const auto& reader : readers) EXPECT_EQ(reader->frames(), kFramesOfAVersion);
  const auto last = Pull(1);
  EXPECT_EQ(last->frames(), kFramesOfAVersion);
  EXPECT_EQ(Pull(1)->refused().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ShardDriverTest, Reader_ThatIsForgotten_MakesRoom) {
  ASSERT_NO_FATAL_FAILURE(Start());
  std::vector<std::shared_ptr<FakeReader>> readers;
  for (size_t i = 0; i < Readers::kMost; ++i) readers.push_back(Pull(0));
  readers.pop_back();
  EXPECT_EQ(Pull(0)->frames(), kFramesOfAVersion);
}

TEST_F(ShardDriverTest, Attach_AgainAsAnotherConnection_LeavesNoSecondPlace) {
  ASSERT_NO_FATAL_FAILURE(Start());
  v1::FrameHeader header = AttachFrame(/*generation=*/1, /*next=*/0);
  header.set_connection(1);
  header.set_connections(2);
  Say(header);
  ASSERT_TRUE(stream_->attachment.has_value());
  EXPECT_EQ(stream_->attachment->connection, 0u);
}

TEST_F(ShardDriverTest, Readers_OfManyVersions_HoldOnToNoMoreThanTheBoundCountsOn) {
  ASSERT_NO_FATAL_FAILURE(Start());
  std::vector<std::shared_ptr<FakeReader>> readers;
  for (uint64_t version = 0; version < Readers::kMostVersions; ++version) {
    readers.push_back(Pull(version));
    EXPECT_EQ(readers.back()->frames(), kFramesOfAVersion);
    Contribute(version + 1);
  }
  const auto refused = Pull(Readers::kMostVersions);
  EXPECT_EQ(refused->refused().code(), absl::StatusCode::kResourceExhausted);
  const auto waits = Pull(Readers::kMostVersions + 1);
  Contribute(Readers::kMostVersions + 1);
  EXPECT_EQ(waits->refused().code(), absl::StatusCode::kResourceExhausted);
  readers[0]->End();
  EXPECT_EQ(Pull(Readers::kMostVersions + 1)->frames(), kFramesOfAVersion);
}

// The second worker says nothing, so that nothing is reduced.
TEST_F(ShardDriverTest, Contribution_BeyondTheCredit_IsRefusedAndNotKept) {
  driver_.Welcome("run");
  Install(1, /*credit_bytes=*/kBlockBytes, /*workers=*/2);
  Attach();
  Contribute(0);
  ASSERT_EQ(driver_.Report().next_round(), 1u);
  Contribute(1);
  EXPECT_EQ(driver_.Report().contribution_bytes(), kBlockBytes);
  EXPECT_EQ(driver_.Report().missing_blocks(0), 1u);
}

TEST_F(ShardDriverTest, Contribution_WithinTheCredit_IsKept) {
  driver_.Welcome("run");
  Install(1, /*credit_bytes=*/2 * kBlockBytes, /*workers=*/2);
  Attach();
  Contribute(0);
  Contribute(1);
  Contribute(1);  // sent again, as after a broken connection: it does not count twice
  EXPECT_EQ(driver_.Report().contribution_bytes(), 2 * kBlockBytes);
  EXPECT_EQ(driver_.Report().missing_blocks(0), 0u);
}

TEST_F(ShardDriverTest, Report_OfAKnownModel_SaysTheBound) {
  EXPECT_EQ(driver_.Report().memory_bound_bytes(), 0u);
  driver_.Welcome("run");
  Install(1);
  EXPECT_GT(driver_.Report().memory_bound_bytes(), 0u);
  EXPECT_THAT(driver_.Report().memory_bound(), HasSubstr(" MB process"));
}

class SmallMachineTest : public ShardDriverTest {
 protected:
  SmallMachineTest() : ShardDriverTest(/*machine_bytes=*/31) {}
};

TEST_F(SmallMachineTest, Model_TooLarge_IsAnsweredAsAnImpossibleInstall) {
  driver_.Welcome("run");
  Install(1);
  ASSERT_EQ(answers_.size(), 2u);
  EXPECT_TRUE(answers_[0].has_sealed());
  EXPECT_EQ(answers_[1].installed().generation(), 1u);
  EXPECT_THAT(answers_[1].installed().error(), HasSubstr("the model does not fit"));
  EXPECT_THAT(answers_[1].installed().error(), HasSubstr("use more shards"));
  EXPECT_EQ(driver_.bound_run_id(), "") << "it holds nothing, and can serve another run";
}

}  // namespace
}  // namespace lockstep::service
