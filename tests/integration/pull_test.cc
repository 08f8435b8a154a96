// Readers that reach one shard only, as through a forwarded port: it passes on what they ask of others.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/wire/channel.h"
#include "common/wire/status.h"
#include "proto/control.grpc.pb.h"
#include "proto/shard.grpc.pb.h"
#include "server/service/forwarding.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"
#include "worker/client/reader.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint32_t kShards = 3;
constexpr uint64_t kRounds = 10;
constexpr float kLr = 0.25;
constexpr int kMostReaders = 16;  // of a shard

struct Pulled {
  std::vector<std::string> frames;
  grpc::Status status;
  std::optional<uint64_t> newest;  // of the trailer
};

Pulled Pull(const std::string& address, const v1::PullRequest& request, bool passed_on = false) {
  const auto stub = v1::Shard::NewStub(wire::ControlChannel(address));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  if (passed_on) service::MarkPassedOn(context, service::PassedOn::kToCoordinator);
  const auto reader = stub->Pull(&context, request);
  Pulled pulled;
  for (v1::Frame frame; reader->Read(&frame);) pulled.frames.push_back(frame.SerializeAsString());
  pulled.status = reader->Finish();
  const auto& trailers = context.GetServerTrailingMetadata();
  if (const auto at = trailers.find(wire::kNewestVersionTrailer); at != trailers.end()) {
    pulled.newest = std::stoull(std::string(at->second.data(), at->second.size()));
  }
  return pulled;
}

// Three servers that have trained to version kRounds and stay.
class PullTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TrainOptions options{.coordinator = cluster_.coordinator(), .name = "w", .rounds = kRounds};
    const absl::Status trained = Train(tiny_, options, values_);
    ASSERT_TRUE(trained.ok()) << trained;
    ASSERT_TRUE(cluster_.Await([](const v1::Status& status) { return status.state() == v1::Status::DONE; }));
  }
  v1::PullRequest Request(std::optional<uint32_t> shard, uint64_t version = kRounds) {
    v1::PullRequest request;
    request.set_run_id(cluster_.Status().run_id());
    request.set_version(version);
    if (shard) request.set_shard(*shard);
    return request;
  }

  const Tiny tiny_;
  Tiny::Values values_;
  Cluster cluster_{{.shards = kShards, .workers = 1, .flags = {"--after-run=serve", absl::StrCat("--lr=", kLr)}}};
};

TEST_F(PullTest, AnyShard_AskedForAnother_PassesOnTheSameFrames) {
  for (uint32_t whose = 0; whose < kShards; ++whose) {
    const Pulled direct = Pull(cluster_.address(whose), Request(std::nullopt));
    ASSERT_TRUE(direct.status.ok()) << direct.status.error_message();
    EXPECT_GE(direct.frames.size(), 2u);
    for (uint32_t asked = 0; asked < kShards; ++asked) {
      const Pulled passed = Pull(cluster_.address(asked), Request(whose));
      EXPECT_TRUE(passed.status.ok()) << passed.status.error_message();
      EXPECT_EQ(passed.frames, direct.frames) << "shard " << whose << " through shard " << asked;
    }
  }
}

TEST_F(PullTest, Refusal_OfAnotherShard_ComesBackWithItsTrailer) {
  const Pulled gone = Pull(cluster_.address(2), Request(1, kRounds - 5));
  EXPECT_EQ(gone.status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_THAT(gone.status.error_message(), HasSubstr(absl::StrCat("the newest here is ", kRounds)));
  EXPECT_EQ(gone.newest, kRounds);
}

TEST_F(PullTest, ShardThatDoesNotExist_IsRefusedWithThoseThatDo) {
  const Pulled none = Pull(cluster_.address(1), Request(7));
  EXPECT_EQ(none.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(none.status.error_message(), HasSubstr("no shard 7: this run has shards 0 to 2"));
}

TEST_F(PullTest, ShardThatIsAway_IsNamed) {
  cluster_.shard(1).Signal(SIGKILL);
  cluster_.shard(1).Wait();
  const Pulled away = Pull(cluster_.address(2), Request(1));
  EXPECT_EQ(away.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  // What the coordinator says is handed back as it is by the shard that has asked it.
  EXPECT_THAT(away.status.error_message(), StartsWith("the coordinator is up, but cannot reach shard 1 at "));
  EXPECT_TRUE(Pull(cluster_.address(2), Request(0)).status.ok());
}

TEST_F(PullTest, QuestionThatWasPassedOnBefore_IsNotPassedRoundInACircle) {
  const Pulled circle = Pull(cluster_.address(1), Request(2), /*passed_on=*/true);
  EXPECT_EQ(circle.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(circle.status.error_message(), HasSubstr("--coordinator"));
}

// The address of another process, or one behind which there are several: what the coordinator passes on comes back.
TEST_F(PullTest, ShardThatAdvertisesTheCoordinatorsAddress_IsNamed_AndNothingGoesRoundInACircle) {
  cluster_.shard(2).Signal(SIGKILL);
  cluster_.shard(2).Wait();
  const Process misled(
      {Program("server/lockstep-server"), "--shard-index=2", absl::StrCat("--shards=", kShards), "--workers=1",
       "--bind=127.0.0.1:0", absl::StrCat("--data-dir=", cluster_.DataFolder(2)),
       absl::StrCat("--coordinator=", cluster_.coordinator()), absl::StrCat("--advertise=", cluster_.coordinator()),
       "--after-run=serve", absl::StrCat("--lr=", kLr)},
      absl::StrCat(NewFolder("misled"), "/log"));
  ASSERT_TRUE(cluster_.Await([&](const v1::Status& status) {
    return status.shards(2).state() == v1::ShardStatus::UP && status.shards(2).address() == cluster_.coordinator();
  }));
  for (uint32_t asked : {0, 1}) {
    const Pulled circle = Pull(cluster_.address(asked), Request(2));
    EXPECT_EQ(circle.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_THAT(circle.status.error_message(), HasSubstr("check the --advertise flag of shard 2"));
  }
}

TEST_F(PullTest, ReadersThatGo_LeaveTheirPlacesAtTheOtherShard) {
  const auto stub = v1::Shard::NewStub(wire::ControlChannel(cluster_.address(2)));
  for (int i = 0; i < 3 * kMostReaders; ++i) {
    grpc::ClientContext context;
    const auto waits = stub->Pull(&context, Request(1, kRounds + 1));  // a version that never comes
    context.TryCancel();
    waits->Finish();
  }
  Pulled pulled;
  for (int attempt = 0; attempt < 600; ++attempt) {
    pulled = Pull(cluster_.address(1), Request(1));
    if (pulled.status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED) break;
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_TRUE(pulled.status.ok()) << pulled.status.error_message();
}

// One forwarded port: the addresses in the status lead nowhere from here.
class OnePort {
 public:
  explicit OnePort(const Cluster& cluster) : control_(cluster), shard_(cluster) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&control_);
    builder.RegisterService(&shard_);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }
  ~OnePort() { server_->Shutdown(); }
  const std::string& address() const { return address_; }

 private:
  struct Control final : v1::Control::Service {
    explicit Control(const Cluster& cluster) : cluster(cluster) {}
    grpc::Status GetStatus(grpc::ServerContext*, const v1::StatusRequest*, v1::Status* reply) override {
      *reply = cluster.Status();
      for (v1::ShardStatus& shard : *reply->mutable_shards()) shard.set_address("shard.lockstep.invalid:7700");
      return grpc::Status::OK;
    }
    const Cluster& cluster;
  };
  struct Shard final : v1::Shard::WithRawCallbackMethod_Pull<v1::Shard::Service> {
    explicit Shard(const Cluster& cluster) : cluster(cluster) {}
    grpc::ServerWriteReactor<grpc::ByteBuffer>* Pull(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request) override {
      if (!request->Valid()) return nullptr;  // who asked has gone
      service::KeptChannel to_cluster(cluster.coordinator());
      return service::RelayPull(context, *request, service::TheCoordinator(to_cluster));
    }
    const Cluster& cluster;
  };

  Control control_;
  Shard shard_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST_F(PullTest, Reader_ThatReachesOnePortOnly_ReadsTheWholeModel) {
  const OnePort port(cluster_);
  const auto reader = Reader::Open(port.address(), absl::Seconds(30));
  ASSERT_TRUE(reader.ok()) << reader.status();
  for (int i = 0; i < 2; ++i) {
    const auto snapshot = (*reader)->Pull(std::nullopt, absl::Seconds(60));
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    EXPECT_EQ(snapshot->version, kRounds);
    for (size_t t = 0; t < values_.size(); ++t) EXPECT_EQ(snapshot->tensors[t].values, values_[t]);
  }
}

}  // namespace
}  // namespace lockstep::testing
