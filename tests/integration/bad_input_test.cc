// Bad input from the network, from callers and from flags: each gets a clear error that says what was expected and what
// came, nobody else notices, and the run of the others ends with the bits of the reference.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/convert.h"
#include "common/random_id.h"
#include "common/wire/channel.h"
#include "proto/control.grpc.pb.h"
#include "proto/coordinator.pb.h"
#include "proto/shard.pb.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"
#include "tests/testing/guest.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;

constexpr float kLr = 0.125f;
constexpr uint64_t kRounds = 200;
const auto kEqualWeights = [](uint32_t, uint64_t) { return 1.0f; };
constexpr char kExchange[] = "lockstep.v1.Shard/Exchange";
constexpr char kPull[] = "lockstep.v1.Shard/Pull";
constexpr char kWork[] = "lockstep.v1.Coordinator/Work";
constexpr char kServe[] = "lockstep.v1.Coordinator/Serve";
const std::string kNoFrame = "\xff\xff\xff\xff";

void ExpectError(const absl::Status& status, absl::StatusCode code, const std::vector<std::string>& words) {
  EXPECT_EQ(status.code(), code) << status;
  for (const std::string& word : words) EXPECT_THAT(std::string(status.message()), HasSubstr(word));
}

// Good workers in threads. They take their time while guests are there, so that these come in the middle of training,
// and hurry to the end afterwards.
class GoodWorkers {
 public:
  GoodWorkers(const std::string& coordinator, uint32_t count) : values_(count), statuses_(count) {
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
  ~GoodWorkers() { Join(); }

  const Tiny& tiny() const { return tiny_; }
  void Hurry() { hurry_ = true; }
  // Waits for the end of the training of `workers` in all, the good ones among them.
  void ExpectReference(uint32_t workers) {
    Join();
    const Tiny::Values expected = tiny_.Reference(workers, kRounds, kLr, kEqualWeights);
    for (size_t w = 0; w < values_.size(); ++w) {
      EXPECT_TRUE(statuses_[w].ok()) << "good-" << w << ": " << statuses_[w];
      EXPECT_TRUE(values_[w] == expected) << "good-" << w << " holds other bits than the reference";
    }
  }

 private:
  void Join() {
    Hurry();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  const Tiny tiny_;
  std::atomic<bool> hurry_ = false;
  std::vector<Tiny::Values> values_;
  std::vector<absl::Status> statuses_;
  std::vector<std::thread> threads_;
};

std::vector<std::string> Flags() {
  return {absl::StrCat("--lr=", kLr), "--block-elements=1000", "--connections=1", "--lease=60s"};
}

bool Training(const v1::Status& status) { return status.state() == v1::Status::TRAINING && status.round() > 3; }

void ExpectAllEnd(Cluster& cluster) {
  for (int code : cluster.WaitAll()) EXPECT_EQ(code, 0) << "servers end by themselves when the run is done";
}

// ---- Messages ----

v1::Frame FrameOf(v1::FrameHeader header, std::string payload = "") {
  v1::Frame frame;
  *frame.mutable_header() = std::move(header);
  if (!payload.empty()) frame.set_payload(std::move(payload));
  return frame;
}

v1::FrameHeader AttachHeader(const std::string& run_id, uint32_t rank, uint64_t incarnation, uint64_t generation,
                             uint64_t round) {
  v1::FrameHeader header;
  header.set_kind(v1::FrameHeader::ATTACH);
  header.set_run_id(run_id);
  header.set_rank(rank);
  header.set_incarnation(incarnation);
  header.set_generation(generation);
  header.set_round(round);
  header.set_connections(1);
  return header;
}

v1::WorkerMessage JoinMessage(const std::string& name, uint64_t incarnation) {
  v1::WorkerMessage message;
  message.mutable_join()->set_name(name);
  message.mutable_join()->set_incarnation(incarnation);
  return message;
}

v1::WorkerMessage DefineMessage(const v1::ModelSpec& model) {
  v1::WorkerMessage message;
  *message.mutable_define()->mutable_model() = model;
  return message;
}

v1::ShardMessage HelloMessage(uint32_t index, const std::string& run_id) {
  v1::ShardMessage message;
  message.mutable_hello()->set_shard_index(index);
  message.mutable_hello()->set_incarnation(RandomId());
  message.mutable_hello()->set_address("127.0.0.1:1");
  message.mutable_hello()->set_run_id(run_id);
  return message;
}

// ---- Strangers: they hold no place in the run ----

struct Stranger {
  std::string name;
  std::string address;
  std::string method;
  std::vector<std::string> says;
  absl::StatusCode code;
  std::vector<std::string> words;
};

std::vector<Stranger> StrangersAtShard(const Cluster& cluster, const v1::Status& status) {
  const std::string shard = cluster.address(1);
  const auto attach = [&](auto change) {
    v1::FrameHeader header = AttachHeader(status.run_id(), 0, 4711, status.generation(), 0);
    change(header);
    return std::vector<std::string>{FrameOf(header).SerializeAsString()};
  };
  const auto kind = [](v1::FrameHeader::Kind kind) {
    v1::FrameHeader header;
    header.set_kind(kind);
    return std::vector<std::string>{FrameOf(header, "12345678").SerializeAsString()};
  };
  const v1::FrameHeader some = AttachHeader(status.run_id(), 0, 4711, status.generation(), 0);
  const std::string generation = absl::StrCat(status.generation());
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kDenied = absl::StatusCode::kPermissionDenied;
  return {
      {"no frame", shard, kExchange, {kNoFrame}, kInvalid, {"expected a lockstep.v1.Frame"}},
      {"payload before the header",
       shard,
       kExchange,
       {std::string("\x12\x04") + "1234" + FrameOf(some).SerializeAsString()},
       kInvalid,
       {"payload as the last field"}},
      {"contribution first", shard, kExchange, kind(v1::FrameHeader::CONTRIBUTION), kInvalid, {"expected ATTACH"}},
      {"empty first", shard, kExchange, kind(v1::FrameHeader::EMPTY_CONTRIBUTION), kInvalid, {"expected ATTACH"}},
      {"parameters", shard, kExchange, kind(v1::FrameHeader::PARAMETERS), kInvalid, {"expected ATTACH", "PARAMETERS"}},
      {"kind 99", shard, kExchange, kind(static_cast<v1::FrameHeader::Kind>(99)), kInvalid, {"expected ATTACH", "99"}},
      {"another run",
       shard,
       kExchange,
       attach([](auto& header) { header.set_run_id("feedbeef"); }),
       absl::StatusCode::kAborted,
       {"feedbeef", status.run_id()}},
      {"no run",
       shard,
       kExchange,
       attach([](auto& header) { header.clear_run_id(); }),
       absl::StatusCode::kAborted,
       {status.run_id()}},
      {"wrong incarnation", shard, kExchange, attach([](auto&) {}), kDenied, {"fenced", "rank 0", generation}},
      {"no such rank", shard, kExchange, attach([](auto& header) { header.set_rank(77); }), kDenied, {"rank 77"}},
      {"future generation",
       shard,
       kExchange,
       attach([](auto& header) { header.set_generation(1000); }),
       absl::StatusCode::kFailedPrecondition,
       {absl::StrCat("generation ", generation), "1000"}},
      {"connection out of range",
       shard,
       kExchange,
       attach([](auto& header) {
         header.set_connection(3);
         header.set_connections(2);
       }),
       kInvalid,
       {"expected 1 to 64", "connection 3 of 2"}},
      {"no connections",
       shard,
       kExchange,
       attach([](auto& header) { header.set_connections(0); }),
       kInvalid,
       {"connection 0 of 0"}},
      {"too many connections",
       shard,
       kExchange,
       attach([](auto& header) { header.set_connections(4'000'000'000); }),
       kInvalid,
       {"of 4000000000"}},
      {"over the limit",
       shard,
       kExchange,
       {FrameOf(some, std::string(wire::kMaxMessageBytes, 'x')).SerializeAsString()},
       absl::StatusCode::kResourceExhausted,
       {absl::StrCat(wire::kMaxMessageBytes)}},
      {"pull: no request", shard, kPull, {kNoFrame}, kInvalid, {"expected a lockstep.v1.PullRequest"}},
      {"pull: another run",
       shard,
       kPull,
       {"\x0A\x03"
        "foo"},
       kDenied,
       {"foo", status.run_id()}},
  };
}

std::vector<Stranger> StrangersAtCoordinator(const Cluster& cluster, const v1::Status& status) {
  const std::string& address = cluster.coordinator();
  v1::WorkerMessage beat;
  beat.mutable_heartbeat();
  v1::WorkerMessage leave;
  leave.mutable_leave();
  v1::WorkerMessage far = JoinMessage("far", RandomId());
  far.mutable_join()->set_rank(9);
  v1::WorkerMessage held = JoinMessage("held", RandomId());
  held.mutable_join()->set_rank(1);
  v1::WorkerMessage foreign = JoinMessage("foreign", RandomId());
  foreign.mutable_join()->set_run_id("feedbeef");
  v1::ShardMessage report;
  report.mutable_report()->set_next_round(1000);
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const auto say = [](const auto& message) { return std::vector<std::string>{message.SerializeAsString()}; };
  return {
      {"heartbeat first", address, kWork, say(beat), kInvalid, {"expected Join"}},
      {"leave first", address, kWork, say(leave), kInvalid, {"expected Join"}},
      {"define first", address, kWork, say(DefineMessage(v1::ModelSpec())), kInvalid, {"expected Join"}},
      {"no such rank", address, kWork, say(far), kInvalid, {"rank 9", "ranks 0 to 1"}},
      {"held rank", address, kWork, say(held), absl::StatusCode::kResourceExhausted, {"rank 1", "good-"}},
      {"another run", address, kWork, say(foreign), absl::StatusCode::kAborted, {"feedbeef", status.run_id()}},
      {"no place",
       address,
       kWork,
       say(JoinMessage("surplus", RandomId())),
       absl::StatusCode::kResourceExhausted,
       {"all 2 ranks", "surplus"}},
      {"report first", address, kServe, say(report), kInvalid, {"expected ShardHello"}},
      {"no such shard", address, kServe, say(HelloMessage(9, "")), kInvalid, {"no shard 9", "shards 0 to 1"}},
      {"shard of another run",
       address,
       kServe,
       say(HelloMessage(1, "feedbeef")),
       absl::StatusCode::kAborted,
       {"feedbeef", status.run_id()}},
      {"shard 0 of another run", address, kServe, say(HelloMessage(0, "feedbeef")), absl::StatusCode::kAborted, {}},
  };
}

void ExpectRefused(const Stranger& stranger) {
  SCOPED_TRACE(stranger.name);
  const auto guest = Guest::Call(stranger.address, stranger.method);
  for (const std::string& message : stranger.says) guest->Say(message);
  ExpectError(guest->AwaitEnd(), stranger.code, stranger.words);
}

TEST(StrangerTest, Guest_BreaksTheProtocol_IsToldAndTheOthersTrainOn) {
  Cluster cluster({.shards = 2, .workers = 2, .flags = Flags()});
  GoodWorkers good(cluster.coordinator(), 2);
  ASSERT_TRUE(cluster.Await(Training)) << cluster.Status().DebugString();
  const v1::Status before = cluster.Status();
  for (const Stranger& stranger : StrangersAtShard(cluster, before)) ExpectRefused(stranger);
  for (const Stranger& stranger : StrangersAtCoordinator(cluster, before)) ExpectRefused(stranger);
  // What is no message of the service ends the stream, too.
  for (const char* method : {kWork, kServe}) {
    const auto guest = Guest::Call(cluster.coordinator(), method);
    guest->Say(kNoFrame);
    EXPECT_NE(guest->AwaitEnd().code(), absl::StatusCode::kDeadlineExceeded);
  }
  const v1::Status after = cluster.Status();
  EXPECT_EQ(after.generation(), before.generation()) << "a stranger has changed the run";
  EXPECT_EQ(after.state(), v1::Status::TRAINING);
  for (uint32_t s = 0; s < 2; ++s) EXPECT_EQ(cluster.shard(s).Poll(), -1) << "shard " << s << " has ended";
  good.ExpectReference(2);
  ExpectAllEnd(cluster);
}

TEST(StrangerTest, Reader_AsksForAnyVersion_TheShardLives) {
  Cluster cluster({.shards = 1, .workers = 1, .flags = Flags()});
  ASSERT_TRUE(cluster.Await([](const v1::Status& status) { return status.shards(0).state() == v1::ShardStatus::UP; }));
  v1::PullRequest request;
  request.set_run_id(cluster.Status().run_id());
  std::vector<std::shared_ptr<Guest>> guests;
  const auto pull = [&](uint64_t version) {
    request.set_version(version);
    guests.push_back(Guest::Call(cluster.coordinator(), kPull));
    guests.back()->Say(request);
  };
  for (uint64_t back = 0; back < 4; ++back) pull(UINT64_MAX - back);
  for (uint64_t version = 1000; version < 1040; ++version) pull(version);
  // No more than 16 may wait: so some have been refused, and all have been looked at.
  size_t refused = 0;
  for (int attempt = 0; attempt < 3000 && refused < guests.size() - 16; ++attempt) {
    absl::SleepFor(absl::Milliseconds(10));
    refused = 0;
    for (const auto& guest : guests) refused += guest->ended() ? 1 : 0;
  }
  EXPECT_EQ(refused, guests.size() - 16);
  for (const auto& guest : guests) {
    if (guest->ended()) ExpectError(guest->AwaitEnd(), absl::StatusCode::kResourceExhausted, {"readers"});
    guest->Cancel();
  }
  for (const auto& guest : guests) EXPECT_NE(guest->AwaitEnd().code(), absl::StatusCode::kDeadlineExceeded);
  // Readers that have gone make room for others.
  std::shared_ptr<Guest> reader;
  for (int attempt = 0; attempt < 1000 && (reader == nullptr || reader->ended()); ++attempt) {
    reader = Guest::Call(cluster.coordinator(), kPull);
    request.set_version(5);
    reader->Say(request);
    absl::SleepFor(absl::Milliseconds(20));
  }
  GoodWorkers good(cluster.coordinator(), 1);
  const auto complete =
      reader->Hear<v1::Frame>([](const v1::Frame& frame) { return frame.header().completed_in() > 0; });
  ASSERT_TRUE(complete.has_value());
  EXPECT_EQ(complete->header().round(), 5u);
  const auto late = Guest::Call(cluster.coordinator(), kPull);
  ASSERT_TRUE(cluster.Await([](const v1::Status& status) { return status.version() > 8; }));
  request.set_version(1);
  late->Say(request);
  ExpectError(late->AwaitEnd(), absl::StatusCode::kOutOfRange, {"version 1 is gone", "newest"});
  good.ExpectReference(1);
  ExpectAllEnd(cluster);
}

// ---- A member: it has joined by the protocol, and then goes wrong ----

struct Member {
  std::shared_ptr<Guest> membership;
  uint64_t incarnation = 0;
  v1::Welcome welcome;
  v1::Announce announce;
  std::shared_ptr<Guest> data;  // to shard 0
  uint64_t round = 0;           // being collected
};

// Joins as "guest" and attaches to shard 0, which is collecting member.round then.
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

struct Fault {
  std::string name;
  bool begun;                                      // a good block comes first
  std::function<void(v1::Frame&, Member&)> spoil;  // makes a contribution a bad one
  absl::StatusCode code;
  std::vector<std::string> words;
};

std::vector<Fault> Faults(const BlockLayout& layout) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const uint32_t foreign = layout.of_shard(ShardIndex(1))[3].value();
  const auto weight = [](float value) {
    return [value](v1::Frame& frame, Member&) { frame.mutable_header()->set_weight(value); };
  };
  const auto header = [](auto change) {
    return [change](v1::Frame& frame, Member&) { change(*frame.mutable_header()); };
  };
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  return {
      {"no frame",
       true,
       [](v1::Frame& frame, Member& member) {
         member.data->Say(kNoFrame);
         frame.Clear();
       },
       kInvalid,
       {"expected a lockstep.v1.Frame"}},
      {"future round", true, header([](auto& h) { h.set_round(h.round() + 5); }), kInvalid, {"expected round"}},
      {"no such block",
       true,
       header([](auto& h) { h.set_block(99999); }),
       kInvalid,
       {"block 99999 came", "shard 0 does not hold it", absl::StrCat(layout.blocks().size(), " blocks")}},
      {"block of another shard",
       false,
       header([foreign](auto& h) { h.set_block(foreign); }),
       kInvalid,
       {absl::StrCat("block ", foreign, " came"), "shard 0 does not hold it"}},
      {"too short",
       true,
       [](v1::Frame& frame, Member&) { frame.mutable_payload()->resize(3996); },
       kInvalid,
       {"expected 1000 float32 elements (4000 bytes)", "3996 bytes came"}},
      {"too long",
       false,
       [](v1::Frame& frame, Member&) { frame.mutable_payload()->resize(4004); },
       kInvalid,
       {"4000 bytes", "4004 bytes came"}},
      {"no payload", true, [](v1::Frame& frame, Member&) { frame.clear_payload(); }, kInvalid, {"0 bytes came"}},
      {"no dtype",
       true,
       header([](auto& h) { h.clear_dtype(); }),
       kInvalid,
       {"expected dtype float32", "DTYPE_UNSPECIFIED"}},
      {"dtype 77",
       false,
       header([](auto& h) { h.set_dtype(static_cast<v1::DType>(77)); }),
       kInvalid,
       {"expected dtype float32", "77"}},
      {"wrong checksum",
       true,
       header([](auto& h) { h.set_checksum(0x1234); }),
       absl::StatusCode::kDataLoss,
       {"damaged", "0000000000001234"}},
      {"NaN weight", false, weight(kNan), kInvalid, {"weight nan", "expected a finite number"}},
      {"infinite weight", false, weight(INFINITY), kInvalid, {"weight inf", "expected a finite number"}},
      {"negative weight", false, weight(-2), kInvalid, {"weight -2", "not negative"}},
      {"two weights", true, weight(7), kInvalid, {"gave weight 7", "expected 1 as in its other blocks"}},
      {"empty with weight",
       false,
       [](v1::Frame& frame, Member&) {
         frame.clear_payload();
         frame.mutable_header()->set_kind(v1::FrameHeader::EMPTY_CONTRIBUTION);
       },
       kInvalid,
       {"no payload", "only weight 0"}},
      {"future generation",
       true,
       header([](auto& h) { h.set_generation(h.generation() + 3); }),
       absl::StatusCode::kFailedPrecondition,
       {"has installed generation", "attach again"}},
      {"attached ahead",
       false,
       [](v1::Frame& frame, Member& member) {
         frame = FrameOf(AttachHeader(member.welcome.run_id(), member.welcome.rank(), member.incarnation,
                                      member.announce.generation(), member.round + 2));
       },
       absl::StatusCode::kFailedPrecondition,
       {"the worker holds version", "still being collected"}},
      {"kind 99",
       true,
       header([](auto& h) { h.set_kind(static_cast<v1::FrameHeader::Kind>(99)); }),
       kInvalid,
       {"expected ATTACH, CONTRIBUTION", "99"}},
      {"over the limit",
       true,
       [](v1::Frame& frame, Member&) { frame.set_payload(std::string(wire::kMaxMessageBytes, 'x')); },
       absl::StatusCode::kResourceExhausted,
       {absl::StrCat(wire::kMaxMessageBytes)}},
  };
}

void Commit(const Cluster& cluster, const Fault& fault, const ModelSpec& model, const BlockLayout& layout) {
  SCOPED_TRACE(fault.name);
  Member member;
  ASSERT_NO_FATAL_FAILURE(Enter(cluster, model, member));
  if (fault.begun) member.data->Say(Contribution(member, layout, 0));
  v1::Frame frame = Contribution(member, layout, 1);
  fault.spoil(frame, member);
  if (frame.has_header()) member.data->Say(frame);
  ExpectError(member.data->AwaitEnd(), fault.code, fault.words);
  EXPECT_FALSE(member.membership->ended()) << "the member may try again";
}

// Models that the run does not take; the guest that brings one is told so, and keeps nobody from coming after it.
void ExpectModelsRefused(const Cluster& cluster, const ModelSpec& model) {
  struct Case {
    v1::ModelSpec model;
    std::vector<std::string> words;
  };
  const v1::ModelSpec good = ToProto(model);
  std::vector<Case> cases(6, {good, {}});
  cases[0].model.mutable_tensors(2)->set_shape(0, 39999);
  cases[0].words = {"tensor 2", "tensor-2 float32[40000]", "tensor-2 float32[39999]"};
  cases[1].model.mutable_tensors()->RemoveLast();
  cases[1].words = {"4 tensors", "has 3", "tensor-3"};
  cases[2].model.mutable_tensors(1)->set_dtype(static_cast<v1::DType>(9));
  cases[2].words = {"'tensor-1'", "float32", "9"};
  cases[3].model.clear_tensors();
  cases[3].words = {"no tensors"};
  cases[4].model.mutable_tensors(0)->set_shape(0, int64_t{1} << 40);
  cases[4].model.mutable_tensors(0)->add_shape(int64_t{1} << 40);
  cases[4].words = {"tensor-0", "1099511627776 elements"};
  cases[5].model.mutable_tensors(0)->set_shape(0, -1);
  cases[5].words = {"tensor-0 float32[-1]", "positive"};
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.model.ShortDebugString());
    const auto guest = Guest::Call(cluster.coordinator(), kWork);
    guest->Say(JoinMessage("guest", RandomId()));
    guest->Say(DefineMessage(bad.model));
    ExpectError(guest->AwaitEnd(), absl::StatusCode::kInvalidArgument, bad.words);
  }
  auto worker = Worker::Join({.coordinator = cluster.coordinator(), .name = "guest", .timeout = absl::Seconds(20)});
  ASSERT_TRUE(worker.ok()) << worker.status();
  const Tiny other({1000, 8, 40000, 1});
  Tiny::Values values = other.Initial();
  ExpectError((*worker)->Define(other.model(), Spans(values), absl::Seconds(20)).status(),
              absl::StatusCode::kInvalidArgument, {"tensor 1", "float32[7]", "float32[8]"});
}

// Holds the guest's place as a good worker for some rounds, and crashes.
void TrainForAWhile(const Cluster& cluster, const Tiny& tiny, int rounds) {
  TrainOptions options{.coordinator = cluster.coordinator(), .name = "guest", .rounds = kRounds};
  options.before = [&](Worker&, uint64_t) { return rounds-- > 0; };
  Tiny::Values values;
  EXPECT_TRUE(absl::IsCancelled(Train(tiny, options, values)));
}

// Mutations of good frames by one who may send them, a new stream whenever one ends.
void Fuzz(const Cluster& cluster, const ModelSpec& model, const BlockLayout& layout, uint64_t seed, int count) {
  Random random(seed);
  Member member;
  ASSERT_NO_FATAL_FAILURE(Enter(cluster, model, member));
  const v1::Frame attach = FrameOf(AttachHeader(member.welcome.run_id(), member.welcome.rank(), member.incarnation,
                                                member.announce.generation(), member.round - 1));
  for (int i = 0; i < count; ++i) {
    if (member.data->ended()) {
      member.data = Guest::Call(cluster.address(0), kExchange);
      member.data->Say(attach);
    }
    // Never the last blocks: the round of this generation must not come to an end with what is sent here.
    std::string bytes = Contribution(member, layout, static_cast<uint32_t>(Uniform(random, 0, 9))).SerializeAsString();
    const size_t header = std::min<size_t>(bytes.size(), 40);
    for (uint64_t flips = Uniform(random, 0, 3); flips > 0; --flips) {
      bytes[Uniform(random, 0, header - 1)] ^= static_cast<char>(1 << Uniform(random, 0, 7));
    }
    if (random() % 8 == 0) bytes.resize(Uniform(random, 0, bytes.size()));
    member.data->Say(bytes);
  }
  member.data->Say(kNoFrame);
  EXPECT_EQ(member.data->AwaitEnd().code() == absl::StatusCode::kDeadlineExceeded, false);
}

uint64_t ChosenSeed() {
  const char* const chosen = std::getenv("LOCKSTEP_SEED");
  return chosen == nullptr ? 1 : std::strtoull(chosen, nullptr, 10);
}

TEST(MemberTest, Member_GoesWrong_IsToldAndItsPlaceTakenAgain) {
  const uint64_t seed = ChosenSeed();
  std::printf("%s\n", RepeatCommand(seed).c_str());
  Cluster cluster({.shards = 2, .workers = 3, .flags = Flags()});
  GoodWorkers good(cluster.coordinator(), 2);
  const ModelSpec& model = good.tiny().model();
  ASSERT_TRUE(cluster.Await([](const v1::Status& status) {
    int active = 0;
    for (const v1::WorkerStatus& worker : status.workers()) active += worker.state() == v1::WorkerStatus::ACTIVE;
    return active == 2;
  })) << cluster.Status().DebugString();
  ExpectModelsRefused(cluster, model);
  const auto layout = BlockLayout::Create(model, 2, 1000);
  ASSERT_TRUE(layout.ok());
  const std::vector<Fault> faults = Faults(*layout);
  for (size_t i = 0; i < faults.size(); ++i) {
    ASSERT_NO_FATAL_FAILURE(Commit(cluster, faults[i], model, *layout));
    if (i % 6 == 0) TrainForAWhile(cluster, good.tiny(), 5);
  }
  ASSERT_NO_FATAL_FAILURE(Fuzz(cluster, model, *layout, seed, 200));
  Member fenced;
  ASSERT_NO_FATAL_FAILURE(Enter(cluster, model, fenced));
  for (uint32_t s = 0; s < 2; ++s) EXPECT_EQ(cluster.shard(s).Poll(), -1) << "shard " << s << " has ended";
  good.Hurry();
  Tiny::Values values;
  const absl::Status status =
      Train(good.tiny(), {.coordinator = cluster.coordinator(), .name = "guest", .rounds = kRounds}, values);
  EXPECT_TRUE(status.ok()) << status;
  ExpectError(fenced.membership->AwaitEnd(), absl::StatusCode::kPermissionDenied, {"fenced", "guest", "rank 2"});
  good.ExpectReference(3);
  ExpectAllEnd(cluster);
}

TEST(FuzzTest, Bytes_OfStrangers_ChangeNothing) {
  const uint64_t seed = ChosenSeed();
  std::printf("%s\n", RepeatCommand(seed).c_str());
  Random random(seed);
  Cluster cluster({.shards = 2, .workers = 2, .flags = Flags()});
  GoodWorkers good(cluster.coordinator(), 2);
  ASSERT_TRUE(cluster.Await(Training)) << cluster.Status().DebugString();
  const v1::Status before = cluster.Status();
  for (int i = 0; i < 300; ++i) {
    const auto guest = Guest::Call(cluster.address(static_cast<uint32_t>(i % 2)), kExchange);
    for (uint64_t messages = Uniform(random, 1, 4); messages > 0; --messages) {
      std::string bytes = RandomBytes(random, Uniform(random, 0, 64));
      if (random() % 2 == 0) {
        bytes = FrameOf(AttachHeader(before.run_id(), static_cast<uint32_t>(Uniform(random, 0, 2)), random(),
                                     Uniform(random, 0, 2), Uniform(random, 0, 50)),
                        RandomBytes(random, Uniform(random, 0, 64)))
                    .SerializeAsString();
        if (random() % 2 == 0) bytes[1 + Uniform(random, 0, bytes.size() - 2)] = static_cast<char>(random());
      }
      guest->Say(bytes);
    }
    guest->Say(kNoFrame);
    EXPECT_NE(guest->AwaitEnd().code(), absl::StatusCode::kDeadlineExceeded) << "stranger " << i;
  }
  EXPECT_EQ(cluster.Status().generation(), before.generation());
  good.ExpectReference(2);
  ExpectAllEnd(cluster);
}

// ---- A process that passes for a shard ----

v1::Status StatusFrom(const std::string& address) {
  const auto control = v1::Control::NewStub(wire::ControlChannel(address));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::Status status;
  EXPECT_TRUE(control->GetStatus(&context, v1::StatusRequest(), &status).ok());
  return status;
}

template <typename Predicate>
bool AwaitStatus(const std::string& address, Predicate wanted) {
  for (int attempt = 0; attempt < 600; ++attempt) {
    if (wanted(StatusFrom(address))) return true;
    absl::SleepFor(absl::Milliseconds(50));
  }
  return false;
}

// One server of a run of two shards and one worker.
class Server {
 public:
  Server(const std::string& folder, int index, const std::string& coordinator)
      : port_file_(absl::StrCat(folder, "/port-", index)) {
    std::vector<std::string> argv = {Program("server/lockstep-server"),
                                     absl::StrCat("--shard-index=", index),
                                     "--shards=2",
                                     "--workers=1",
                                     "--bind=127.0.0.1:0",
                                     absl::StrCat("--port-file=", port_file_)};
    for (const std::string& flag : Flags()) argv.push_back(flag);
    if (!coordinator.empty()) argv.push_back(absl::StrCat("--coordinator=", coordinator));
    process_ = std::make_unique<Process>(std::move(argv), absl::StrCat(folder, "/log-", index));
  }
  std::string Address() {
    std::string line;
    for (int attempt = 0; attempt < 1500 && line.empty(); ++attempt) {
      absl::SleepFor(absl::Milliseconds(20));
      std::ifstream(port_file_) >> line;
    }
    return line;
  }
  int Wait() { return process_->Wait(); }

 private:
  const std::string port_file_;
  std::unique_ptr<Process> process_;
};

TEST(FakeShardTest, Answers_ToWhatWasNotAsked_AreIgnored) {
  const std::string folder = NewFolder("fake");
  Server zero(folder, 0, "");
  const std::string coordinator = zero.Address();
  ASSERT_FALSE(coordinator.empty());
  const auto fake = Guest::Call(coordinator, kServe);
  fake->Say(HelloMessage(1, ""));
  GoodWorkers good(coordinator, 1);
  const auto seal = fake->Hear<v1::ShardCommand>([](const v1::ShardCommand& command) { return command.has_seal(); });
  ASSERT_TRUE(seal.has_value());
  const uint64_t generation = seal->seal().generation();
  for (const uint64_t wrong : {uint64_t{0}, generation - 1, generation + 1, UINT64_MAX}) {
    v1::ShardMessage message;
    message.mutable_sealed()->set_generation(wrong);
    message.mutable_sealed()->set_next_round(1000);
    fake->Say(message);
    message.mutable_installed()->set_generation(wrong);
    message.mutable_installed()->set_error("nonsense");
    fake->Say(message);
  }
  v1::ShardMessage unasked;
  unasked.mutable_installed()->set_generation(generation);
  fake->Say(unasked);
  fake->Say(v1::ShardMessage());
  v1::ShardMessage report;  // ranks without their counts, numbers without sense
  report.mutable_report()->set_generation(generation);
  report.mutable_report()->set_waiting_seconds(std::nan(""));
  report.mutable_report()->set_parameter_bytes(12345);
  for (uint32_t rank = 0; rank < 1000; ++rank) report.mutable_report()->add_ranks(rank % 3);
  fake->Say(report);
  EXPECT_TRUE(AwaitStatus(coordinator, [](const v1::Status& status) {
    return status.shards(1).parameter_bytes() == 12345 && status.waiting_for_size() == 1;
  }));
  const v1::Status status = StatusFrom(coordinator);
  EXPECT_EQ(status.state(), v1::Status::CHANGING_GENERATION) << status.DebugString();
  EXPECT_EQ(status.waiting_for(0).shard_index(), 1u);
  EXPECT_THAT(status.waiting_for(0).reason(), HasSubstr("has not answered"));
  // The real shard comes, and the run begins.
  Server one(folder, 1, coordinator);
  ExpectError(fake->AwaitEnd(), absl::StatusCode::kPermissionDenied, {"fenced", "newer process"});
  good.ExpectReference(1);
  EXPECT_EQ(zero.Wait(), 0);
  EXPECT_EQ(one.Wait(), 0);
}

// ---- The worker library ----

// A socket on a free port of loopback.
class Listener {
 public:
  Listener() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  }
  ~Listener() {
    shutdown(socket_, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    close(socket_);
  }
  const std::string& address() const { return address_; }
  // Answers every connection as a web server that does not understand.
  void ServeHttp() {
    EXPECT_EQ(listen(socket_, 16), 0);
    thread_ = std::thread([this] {
      for (int peer = accept(socket_, nullptr, nullptr); peer >= 0; peer = accept(socket_, nullptr, nullptr)) {
        constexpr char kAnswer[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        send(peer, kAnswer, sizeof(kAnswer) - 1, MSG_NOSIGNAL);
        close(peer);
      }
    });
  }

 private:
  const int socket_;
  std::string address_;
  std::thread thread_;
};

void ExpectNoPlace(const std::string& address) {
  const absl::Time start = absl::Now();
  const auto worker = Worker::Join({.coordinator = address, .name = "w", .timeout = absl::Seconds(1)});
  ExpectError(worker.status(), absl::StatusCode::kUnavailable, {address, "1s", "lockstep-server"});
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

TEST(JoinTest, Port_Closed_IsUnavailableWithTheAddress) {
  const Listener nobody_listens;
  ExpectNoPlace(nobody_listens.address());
}

TEST(JoinTest, Server_OfHttp_IsUnavailableWithTheAddress) {
  Listener web;
  web.ServeHttp();
  ExpectNoPlace(web.address());
}

TEST(JoinTest, Server_OfAnotherService_IsInvalidWithTheAddress) {
  grpc::CallbackGenericService other;  // knows no method at all
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&other);
  const auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  const auto worker = Worker::Join({.coordinator = absl::StrCat("127.0.0.1:", port), .name = "w"});
  ExpectError(worker.status(), absl::StatusCode::kInvalidArgument,
              {"no coordinator answers", absl::StrCat("127.0.0.1:", port), "--shard-index 0"});
  server->Shutdown(std::chrono::system_clock::now());
}

TEST(JoinTest, Run_Other_IsAbortedWithBothIds) {
  Cluster cluster({.shards = 1, .workers = 1, .flags = {}});
  const auto worker = Worker::Join(
      {.coordinator = cluster.coordinator(), .name = "w", .run_id = "feedbeef", .timeout = absl::Seconds(20)});
  ExpectError(worker.status(), absl::StatusCode::kAborted, {"feedbeef", cluster.Status().run_id()});
}

TEST(JoinTest, Rank_OutOfRange_IsInvalid) {
  Cluster cluster({.shards = 1, .workers = 1, .flags = {}});
  const auto worker =
      Worker::Join({.coordinator = cluster.coordinator(), .name = "w", .rank = Rank(3), .timeout = absl::Seconds(20)});
  ExpectError(worker.status(), absl::StatusCode::kInvalidArgument, {"rank 3", "ranks 0 to 0"});
}

TEST(CallTest, Worker_CallsWrongly_IsToldAndGoesOn) {
  Cluster cluster({.shards = 2, .workers = 2, .flags = {absl::StrCat("--lr=", kLr)}});
  const Tiny tiny;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kOrder = absl::StatusCode::kFailedPrecondition;
  auto joined =
      Worker::Join({.coordinator = cluster.coordinator(), .name = "a", .rank = Rank(0), .timeout = absl::Seconds(20)});
  ASSERT_TRUE(joined.ok()) << joined.status();
  Worker& worker = **joined;
  Tiny::Values values = tiny.Initial();
  const auto push = [&](const Tiny::Values& gradient, float weight, Tiny::Values& into) {
    return worker.PushPull(ConstSpans(gradient), weight, Spans(into), absl::Seconds(60)).status();
  };
  Tiny::Values gradient = values;
  ExpectError(push(gradient, 1, values), kOrder, {"Define the model first"});
  ExpectError(worker.Wait(absl::Seconds(1)).status(), kOrder, {"no call is under way"});
  ExpectError(worker.Define({}, {}, absl::Seconds(1)).status(), kInvalid, {"no tensors"});
  Tiny::Values wrong = values;
  wrong[2].pop_back();
  ExpectError(worker.Define(tiny.model(), Spans(wrong), absl::Seconds(1)).status(), kInvalid,
              {"tensor-2", "expected 40000", "got 39999"});

  std::atomic<bool> go = false;
  absl::Status other_status;
  Tiny::Values other_values;
  std::thread other([&] {
    TrainOptions options{.coordinator = cluster.coordinator(), .name = "b", .rounds = 2};
    options.before = [&](Worker&, uint64_t) {
      while (!go) absl::SleepFor(absl::Milliseconds(5));
      return true;
    };
    other_status = Train(tiny, options, other_values);
  });
  const auto held = worker.Define(tiny.model(), Spans(values), absl::Seconds(60));
  EXPECT_TRUE(held.ok()) << held.status();
  ExpectError(worker.Define(tiny.model(), Spans(values), absl::Seconds(1)).status(), kOrder, {"defined its model"});
  gradient = tiny.Gradient(0, 1, values);
  wrong = gradient;
  wrong[1].push_back(0);
  Tiny::Values fewer(gradient.begin(), gradient.end() - 1);
  ExpectError(push(wrong, 1, values), kInvalid, {"gradients", "tensor-1", "expected 7", "got 8"});
  ExpectError(push(gradient, 1, wrong), kInvalid, {"parameters", "tensor-1", "expected 7", "got 8"});
  ExpectError(push(fewer, 1, values), kInvalid, {"gradients", "expected 4 arrays", "got 3"});
  ExpectError(push(gradient, std::nanf(""), values), kInvalid, {"weight", "nan"});
  ExpectError(push(gradient, -1, values), kInvalid, {"weight", "-1"});
  ExpectError(push(gradient, INFINITY, values), kInvalid, {"weight", "inf"});

  std::atomic<int> called = 0;
  EXPECT_TRUE(worker.PushPullAsync(ConstSpans(gradient), 1, Spans(values), [&](auto) { ++called; }).ok());
  Tiny::Values elsewhere = gradient;
  ExpectError(push(gradient, 1, elsewhere), kOrder, {"a call is under way"});
  ExpectError(worker.Leave(absl::Seconds(1)), kOrder, {"a call is under way"});
  ExpectError(worker.Wait(absl::Milliseconds(50)).status(), absl::StatusCode::kDeadlineExceeded, {"round 1"});
  go = true;
  for (int attempt = 0; attempt < 3000 && called == 0; ++attempt) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(called, 1);
  gradient = tiny.Gradient(0, 2, values);
  EXPECT_TRUE(push(gradient, 1, values).ok());
  EXPECT_TRUE(worker.Leave().ok());
  ExpectError(push(gradient, 1, values), kOrder, {"left"});
  other.join();
  EXPECT_TRUE(other_status.ok()) << other_status;
  const Tiny::Values expected = tiny.Reference(2, 2, kLr, kEqualWeights);
  EXPECT_TRUE(values == expected);
  EXPECT_TRUE(other_values == expected);
  ExpectAllEnd(cluster);
}

// ---- Flags ----

struct BadFlags {
  std::vector<std::string> flags;
  std::vector<std::string> words;
};

// Starts a server with `flags`; its exit code, and what it printed.
std::pair<int, std::string> RunServerWith(const std::vector<std::string>& flags) {
  std::vector<std::string> argv = {Program("server/lockstep-server")};
  argv.insert(argv.end(), flags.begin(), flags.end());
  const std::string log = NewFolder("flags") + "/log";
  const int code = Process(std::move(argv), log).Wait();
  std::stringstream text;
  text << std::ifstream(log).rdbuf();
  return {code, text.str()};
}

TEST(FlagsTest, Flags_Wrong_EndWith64AndAMessage) {
  const std::vector<BadFlags> cases = {
      {{"--no-such-flag"}, {"--no-such-flag"}},
      {{"stray"}, {"stray"}},
      {{"--shards=0"}, {"--shards", "1"}},
      {{"--workers=0"}, {"--workers", "1"}},
      {{"--workers=many"}, {"--workers", "many"}},
      {{"--shards=2", "--shard-index=2"}, {"--shard-index 2", "shards 0 to 1"}},
      {{"--shards=2", "--shard-index=1"}, {"--coordinator", "shard 0"}},
      {{"--shard-index=-1"}, {"--shard-index"}},
      {{"--optimizer=sdg"}, {"sdg", "adagrad"}},
      {{"--schedule=linear"}, {"linear", "cosine"}},
      {{"--lr=fast"}, {"--lr", "fast"}},
      {{"--lr=nan"}, {"lr", "nan"}},
      {{"--lr=-1"}, {"lr", "-1"}},
      {{"--optimizer=adam", "--beta2=1"}, {"beta2", "1"}},
      {{"--lease=soon"}, {"--lease", "500ms", "soon"}},
      {{"--lease=1ms"}, {"--lease", "500ms", "1ms"}},
      {{"--block-elements=99999999"}, {"--block-elements"}},
      {{"--connections=0"}, {"--connections", "64"}},
      {{"--log-level=loud"}, {"loud"}},
      {{"--bind=nowhere.invalid:0"}, {"--bind nowhere.invalid:0"}},
      {{"--bind=127.0.0.1:0", "--port-file=/no/such/folder/port"}, {"--port-file /no/such/folder/port"}},
  };
  for (const BadFlags& bad : cases) {
    SCOPED_TRACE(bad.flags.back());
    const auto [code, text] = RunServerWith(bad.flags);
    EXPECT_EQ(code, 64) << text;
    for (const std::string& word : bad.words) EXPECT_THAT(text, HasSubstr(word));
  }
}

TEST(FlagsTest, Bind_Taken_EndsWith64AndTheAddress) {
  Cluster cluster({.shards = 1, .workers = 1, .flags = {}});
  const auto [code, text] = RunServerWith({absl::StrCat("--bind=", cluster.coordinator())});
  EXPECT_EQ(code, 64) << text;
  EXPECT_THAT(text, HasSubstr(absl::StrCat("--bind ", cluster.coordinator())));
}

TEST(FlagsTest, Help_Asked_EndsWith0AndTheExitCodes) {
  const auto [code, text] = RunServerWith({"--help"});
  EXPECT_EQ(code, 0);
  EXPECT_THAT(text, HasSubstr("64"));
}

}  // namespace
}  // namespace lockstep::testing
