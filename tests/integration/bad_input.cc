#include "tests/integration/bad_input.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/convert.h"
#include "common/random_id.h"
#include "tests/testing/messages.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {
namespace {

bool Training(const v1::Status& status) { return status.state() == v1::Status::TRAINING && status.round() > 3; }

}  // namespace

std::vector<std::string> Flags() {
  return {absl::StrCat("--lr=", kLr), absl::StrCat("--block-elements=", kBlockElements), "--connections=1",
          "--lease=60s"};
}

void ExpectError(const absl::Status& status, absl::StatusCode code, const std::vector<std::string>& words) {
  EXPECT_EQ(status.code(), code) << status;
  for (const std::string& word : words) EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(word));
}

void ExpectAllEnd(Cluster& cluster) {
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0) << "servers end by themselves when the run is done";
}

uint64_t PrintedSeed() {
  const char* const chosen = std::getenv("LOCKSTEP_SEED");
  const uint64_t seed = chosen == nullptr ? 1 : std::strtoull(chosen, nullptr, 10);
  std::printf("%s\n", RepeatCommand(seed).c_str());
  return seed;
}

GoodWorkers::GoodWorkers(const std::string& coordinator, uint32_t count) : values_(count), statuses_(count) {
  for (uint32_t w = 0; w < count; ++w) {
    threads_.emplace_back([this, coordinator, w] {
      TrainOptions options{.coordinator = coordinator, .name = absl::StrCat("good-", w), .rounds = kRounds};
      options.before = [this](Worker&, uint64_t round) {
        absl::SleepFor(hurry_ ? absl::ZeroDuration() : absl::Milliseconds(2));
        while (!hurry_ && round > kRounds - 20) absl::SleepFor(absl::Milliseconds(5));
        return true;
      };
      statuses_[w] = Train(tiny_, options, values_[w]);
    });
  }
}

void GoodWorkers::ExpectReference(uint32_t workers) {
  Join();
  const Tiny::Values expected = tiny_.Reference(workers, kRounds, kLr, [](uint32_t, uint64_t) { return 1.0f; });
  for (size_t w = 0; w < values_.size(); ++w) {
    EXPECT_TRUE(statuses_[w].ok()) << "good-" << w << ": " << statuses_[w];
    EXPECT_TRUE(values_[w] == expected) << "good-" << w << " holds other bits than the reference";
  }
}

void GoodWorkers::Join() {
  Hurry();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ExpectRefused(const std::string& address, const std::string& method, const std::vector<Stranger>& strangers) {
  for (const Stranger& stranger : strangers) {
    SCOPED_TRACE(stranger.name);
    const auto guest = Guest::Call(address, method);
    for (const std::string& message : stranger.says) guest->Say(message);
    ExpectError(guest->AwaitEnd(), stranger.code, stranger.words);
  }
}

void StrangerTest::SetUp() {
  cluster_.emplace(ClusterOptions{.shards = 2, .workers = 2, .flags = Flags()});
  good_.emplace(cluster_->coordinator(), 2);
  ASSERT_TRUE(cluster_->Await(Training)) << cluster_->Status().DebugString();
  before_ = cluster_->Status();
}

void StrangerTest::ExpectNobodyNoticed() {
  const v1::Status after = cluster_->Status();
  EXPECT_EQ(after.generation(), before_.generation()) << "a stranger has changed the run";
  EXPECT_EQ(after.state(), v1::Status::TRAINING);
  for (uint32_t s = 0; s < 2; ++s) EXPECT_EQ(cluster_->shard(s).Poll(), -1) << "shard " << s << " has ended";
  good_->ExpectReference(2);
  ExpectAllEnd(*cluster_);
}

void Enter(const Cluster& cluster, const ModelSpec& model, Member& member) {
  member.incarnation = RandomId();
  member.membership = Guest::Call(cluster.coordinator(), kWork);
  member.membership->Say(JoinMessage("guest", member.incarnation));
  const auto welcome = member.membership->Hear<v1::WorkerCommand>(
      [](const v1::WorkerCommand& command) { return command.has_welcome(); });
  ASSERT_TRUE(welcome.has_value());
  member.welcome = welcome->welcome();
  member.membership->Say(DefineMessage(ToProto(model)));
  const auto announce = member.membership->Hear<v1::WorkerCommand>(
      [](const v1::WorkerCommand& command) { return command.has_announce(); });
  ASSERT_TRUE(announce.has_value());
  member.announce = announce->announce();
  const uint64_t held = member.announce.resume_round() == 0 ? 0 : member.announce.resume_round() - 1;
  member.round = held + 1;
  member.data = Guest::Call(cluster.address(0), kExchange);
  member.data->Say(FrameOf(AttachHeader(member.welcome.run_id(), member.welcome.rank(), member.incarnation,
                                        member.announce.generation(), held)));
  ASSERT_TRUE(member.data->Hear<v1::Frame>(
      [&](const v1::Frame& frame) { return frame.header().completed_in() > 0 && frame.header().round() == held; }));
}

void ExpectGuestTrainsToTheEnd(const Cluster& cluster, const Tiny& tiny) {
  Tiny::Values values;
  const absl::Status status =
      Train(tiny, {.coordinator = cluster.coordinator(), .name = "guest", .rounds = kRounds}, values);
  EXPECT_TRUE(status.ok()) << status;
}

bool AwaitActive(const Cluster& cluster, int count) {
  return cluster.Await([count](const v1::Status& status) {
    int active = 0;
    for (const v1::WorkerStatus& worker : status.workers()) active += worker.state() == v1::WorkerStatus::ACTIVE;
    return active == count;
  });
}

}  // namespace lockstep::testing
