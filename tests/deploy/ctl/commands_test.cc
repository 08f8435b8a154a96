// The commands against a shard that says what the test wants, and against what is no shard at all.
#include "deploy/ctl/commands.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/mutex.h"
#include "deploy/ctl/control_client.h"
#include "tests/deploy/ctl/statuses.h"

namespace lockstep::ctl {
namespace {

using ::testing::HasSubstr;

class FakeShard : public v1::Control::Service {
 public:
  FakeShard() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    endpoint_ = absl::StrCat("127.0.0.1:", port);
  }

  const std::string& endpoint() const { return endpoint_; }

  void Set(const v1::Status& status) {
    MutexLock lock(&mutex_);
    status_ = status;
  }

  grpc::Status GetStatus(grpc::ServerContext*, const v1::StatusRequest*, v1::Status* reply) override {
    MutexLock lock(&mutex_);
    *reply = status_;
    return grpc::Status::OK;
  }

  grpc::Status Evict(grpc::ServerContext*, const v1::EvictRequest* request, v1::EvictReply* reply) override {
    if (request->rank() != 3) return {grpc::StatusCode::NOT_FOUND, "nobody holds the rank"};
    reply->set_name("worker-3");
    return grpc::Status::OK;
  }

  // One is there when it is asked for, or is given up if trouble has been said.
  grpc::Status TakeCheckpoint(grpc::ServerContext*, const v1::CheckpointRequest*, v1::CheckpointReply* reply) override {
    MutexLock lock(&mutex_);
    v1::CheckpointStatus& checkpoints = *status_.mutable_checkpoints();
    if (!checkpoints.enabled()) return {grpc::StatusCode::FAILED_PRECONDITION, "shards keep nothing on disk"};
    *reply->mutable_before() = checkpoints;
    if (checkpoints.trouble().empty()) {
      checkpoints.set_finished(checkpoints.finished() + 1);
    } else {
      checkpoints.set_failures(checkpoints.failures() + 1);
    }
    return grpc::Status::OK;
  }

  grpc::Status GetHealth(grpc::ServerContext*, const v1::HealthRequest*, v1::HealthReply* reply) override {
    reply->set_live(true);
    reply->set_message("has no place in the run yet");
    return grpc::Status::OK;
  }

 private:
  Mutex mutex_;
  v1::Status status_ ABSL_GUARDED_BY(mutex_) = HealthyRun(4, 2);
  std::string endpoint_;
  std::unique_ptr<grpc::Server> server_;
};

// Listens; answers every connection with `answer`, or never if that is empty.
class FakeListener {
 public:
  explicit FakeListener(std::string answer) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    bind(socket_, reinterpret_cast<sockaddr*>(&address), size);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    listen(socket_, 16);
    endpoint_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
    if (!answer.empty()) thread_ = std::thread([this, answer] { Answer(answer); });
  }

  ~FakeListener() {
    shutdown(socket_, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    close(socket_);
  }

  const std::string& endpoint() const { return endpoint_; }

 private:
  void Answer(const std::string& answer) {
    for (int peer = accept(socket_, nullptr, nullptr); peer >= 0; peer = accept(socket_, nullptr, nullptr)) {
      (void)!write(peer, answer.data(), answer.size());
      close(peer);
    }
  }

  int socket_;
  std::string endpoint_;
  std::thread thread_;
};

Options Ask(Command command, const std::string& endpoint) {
  Options options;
  options.command = command;
  options.endpoint = endpoint;
  return options;
}

struct Outcome {
  ExitCode code;
  std::string out;
  std::string err;
};

Outcome RunCaptured(const Options& options) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const ExitCode code = RunControlCommand(options);
  return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

TEST(Status, HealthyRun_ExitsWithFine) {
  FakeShard shard;
  const Outcome outcome = RunCaptured(Ask(Command::kStatus, shard.endpoint()));
  EXPECT_EQ(outcome.code, kFine) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("ranks 0-3 active"));
}

TEST(Status, UnhealthyRun_ExitsWithNoButTablesDoNot) {
  FakeShard shard;
  shard.Set(StragglerRun(4, 2, 3));
  EXPECT_EQ(RunCaptured(Ask(Command::kStatus, shard.endpoint())).code, kNo);
  EXPECT_EQ(RunCaptured(Ask(Command::kWorkers, shard.endpoint())).code, kFine);
}

TEST(Status, Json_CanBeParsed) {
  FakeShard shard;
  Options options = Ask(Command::kStatus, shard.endpoint());
  options.output = Output::kJson;
  EXPECT_EQ(nlohmann::json::parse(RunCaptured(options).out)["version"], 117);
}

TEST(Status, Watch_EndsWithTheRun) {
  FakeShard shard;
  Options options = Ask(Command::kStatus, shard.endpoint());
  options.watch = absl::Milliseconds(20);
  std::thread ender([&] {
    absl::SleepFor(absl::Milliseconds(100));
    shard.Set(FailedRun(4, 2));
  });
  const Outcome outcome = RunCaptured(options);
  ender.join();
  EXPECT_EQ(outcome.code, kNo);
  EXPECT_THAT(outcome.out, HasSubstr("FAILED"));
}

TEST(Wait, VersionThatComes_IsFine) {
  FakeShard shard;
  Options options = Ask(Command::kWait, shard.endpoint());
  options.version = 118;
  std::thread trainer([&] {
    absl::SleepFor(absl::Milliseconds(100));
    v1::Status status = HealthyRun(4, 2);
    status.set_version(119);
    shard.Set(status);
  });
  const Outcome outcome = RunCaptured(options);
  trainer.join();
  EXPECT_EQ(outcome.code, kFine);
  EXPECT_THAT(outcome.out, HasSubstr("version 118 is complete on every shard"));
}

TEST(Wait, RunThatEnds_IsNo) {
  FakeShard shard;
  shard.Set(DoneRun(4, 2));
  Options options = Ask(Command::kWait, shard.endpoint());
  options.version = 118;
  const Outcome outcome = RunCaptured(options);
  EXPECT_EQ(outcome.code, kNo);
  EXPECT_THAT(outcome.err, HasSubstr("version 118 will not come"));
}

TEST(Wait, TimeOut_IsNo) {
  FakeShard shard;
  Options options = Ask(Command::kWait, shard.endpoint());
  options.version = 118;
  options.timeout = absl::Milliseconds(300);
  const Outcome outcome = RunCaptured(options);
  EXPECT_EQ(outcome.code, kNo);
  EXPECT_THAT(outcome.err, HasSubstr("did not come within 300 ms"));
}

TEST(Evict, HeldAndFreeRank_AreToldApart) {
  FakeShard shard;
  Options options = Ask(Command::kEvict, shard.endpoint());
  options.rank = 3;
  EXPECT_THAT(RunCaptured(options).out, HasSubstr("evicted worker-3"));
  options.rank = 2;
  const Outcome outcome = RunCaptured(options);
  EXPECT_EQ(outcome.code, kNo);
  EXPECT_THAT(outcome.err, HasSubstr("nobody holds the rank"));
}

v1::Status RunWithCheckpoints() {
  v1::Status status = HealthyRun(4, 2);
  v1::CheckpointStatus& checkpoints = *status.mutable_checkpoints();
  checkpoints.set_enabled(true);
  checkpoints.set_finished(7);
  checkpoints.set_newest_version(120);
  checkpoints.set_folder("/var/lib/lockstep/checkpoints");
  return status;
}

TEST(Checkpoint, Finished_IsNamed) {
  FakeShard shard;
  shard.Set(RunWithCheckpoints());
  const Outcome outcome = RunCaptured(Ask(Command::kCheckpoint, shard.endpoint()));
  EXPECT_EQ(outcome.code, kFine) << outcome.err;
  EXPECT_EQ(outcome.out, "checkpoint of version 120 in /var/lib/lockstep/checkpoints\n");
}

TEST(Checkpoint, GivenUp_SaysWhy) {
  FakeShard shard;
  v1::Status status = RunWithCheckpoints();
  status.mutable_checkpoints()->set_trouble("shard 1: no space left on device");
  shard.Set(status);
  const Outcome outcome = RunCaptured(Ask(Command::kCheckpoint, shard.endpoint()));
  EXPECT_EQ(outcome.code, kNo);
  EXPECT_THAT(outcome.err, HasSubstr("given up: shard 1: no space left on device"));
}

TEST(Checkpoint, WithoutADisk_IsRefused) {
  FakeShard shard;
  const Outcome outcome = RunCaptured(Ask(Command::kCheckpoint, shard.endpoint()));
  EXPECT_EQ(outcome.code, kNo);
  EXPECT_THAT(outcome.err, HasSubstr("shards keep nothing on disk"));
}

TEST(Health, LiveButNotReady_DependsOnTheQuestion) {
  FakeShard shard;
  Options options = Ask(Command::kHealth, shard.endpoint());
  const Outcome ready = RunCaptured(options);
  EXPECT_EQ(ready.code, kNo);
  EXPECT_EQ(ready.out, "not ready: has no place in the run yet\n");
  options.probe = Probe::kLive;
  EXPECT_EQ(RunCaptured(options).code, kFine);
}

TEST(Unreachable, ClosedPort_FailsAtOnceAndSaysWhere) {
  std::string endpoint;
  { endpoint = FakeListener("").endpoint(); }
  const absl::Time start = absl::Now();
  const Outcome outcome = RunCaptured(Ask(Command::kStatus, endpoint));
  EXPECT_EQ(outcome.code, kUnreachable);
  EXPECT_THAT(outcome.err, HasSubstr(absl::StrCat("cannot reach ", endpoint, " after ")));
  EXPECT_THAT(outcome.err, HasSubstr("Connection refused"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(3));
}

TEST(Unreachable, ClosedPort_EveryCommandSaysSo) {
  std::string endpoint;
  { endpoint = FakeListener("").endpoint(); }
  for (const Command command : {Command::kStatus, Command::kWorkers, Command::kShards, Command::kRounds,
                                Command::kEvict, Command::kHealth, Command::kCheckpoint}) {
    const Outcome outcome = RunCaptured(Ask(command, endpoint));
    EXPECT_EQ(outcome.code, kUnreachable) << static_cast<int>(command);
    EXPECT_THAT(outcome.err + outcome.out, HasSubstr(endpoint)) << static_cast<int>(command);
  }
}

TEST(Unreachable, SilentListener_TimesOutWithAdvice) {
  FakeListener listener("");
  Options options = Ask(Command::kStatus, listener.endpoint());
  options.timeout = absl::Milliseconds(300);
  const Outcome outcome = RunCaptured(options);
  EXPECT_EQ(outcome.code, kUnreachable);
  EXPECT_THAT(outcome.err, HasSubstr(absl::StrCat("no answer from ", listener.endpoint())));
}

TEST(Unreachable, HttpServer_IsNoShard) {
  FakeListener listener("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  const Outcome outcome = RunCaptured(Ask(Command::kStatus, listener.endpoint()));
  EXPECT_EQ(outcome.code, kUnreachable);
  EXPECT_THAT(outcome.err, HasSubstr("it is not a Lockstep shard")) << outcome.err;
}

TEST(Unreachable, OtherGrpcService_IsNoShard) {
  int port = 0;
  v1::Control::Service other;  // answers UNIMPLEMENTED
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&other);
  auto server = builder.BuildAndStart();
  const Outcome outcome = RunCaptured(Ask(Command::kStatus, absl::StrCat("127.0.0.1:", port)));
  EXPECT_EQ(outcome.code, kUnreachable);
  EXPECT_THAT(outcome.err, HasSubstr("it is not a Lockstep shard"));
}

TEST(ExplainFailure, ShardThatShutsDown_IsUnreachable) {
  const absl::Status status = ExplainFailure("h:1", {grpc::StatusCode::CANCELLED, "CANCELLED"}, absl::Seconds(1));
  EXPECT_EQ(ExitCodeFor(status), kUnreachable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("h:1 ended while it was asked"));
}

TEST(ExplainFailure, ShardWithoutCoordinator_IsQuoted) {
  const absl::Status status = ExplainFailure(
      "h:1", {grpc::StatusCode::UNAVAILABLE, "the coordinator at a:2 does not answer"}, absl::Seconds(1));
  EXPECT_EQ(status.message(), "h:1 answered: the coordinator at a:2 does not answer");
}

}  // namespace
}  // namespace lockstep::ctl
