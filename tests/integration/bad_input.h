// What the bad_input_* tests share. Each of them takes one door of a run and sends bad input through it:
//
//   bad_input_stranger_test   a shard's data stream (Exchange), from one who holds no place in the run
//   bad_input_member_test     the same stream, from one who does
//   bad_input_work_test       the coordinator's stream for workers (Work)
//   bad_input_serve_test      the coordinator's stream for shards (Serve)
//   bad_input_pull_test       a shard's stream for readers (Pull)
//   bad_input_process_test    flags of a server, and endpoints where no coordinator is
//   bad_input_caller_test     calls of the worker library
//
// Wherever it comes from, bad input has three consequences and no fourth:
//
//   1. Whoever sent it gets a clear error, which says what was expected and what came: ExpectError, ExpectRefused.
//   2. Nobody else notices: no new generation, no server that ends: StrangerTest::ExpectNobodyNoticed.
//   3. The run of the others ends with the bits of the reference: GoodWorkers::ExpectReference.
//
// Guests (tests/testing/guest.h) speak the raw protocol. A Stranger opens a stream, says its piece and is refused. A
// Member has joined as it should, holds a place that everyone waits for, and goes wrong then.
//
//   TEST_F(StrangerTest, Stranger_SendsNoFrame_IsTold) {
//     ExpectRefused(cluster().address(1), kExchange, {{"no frame", {kNoMessage}, kInvalid, {"expected", "Frame"}}});
//     ExpectNobodyNoticed();
//   }
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_INTEGRATION_BAD_INPUT_H_
#define LOCKSTEP_TESTS_INTEGRATION_BAD_INPUT_H_

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/model.h"
#include "proto/control.pb.h"
#include "proto/coordinator.pb.h"
#include "tests/integration/training.h"
#include "tests/testing/cluster.h"
#include "tests/testing/guest.h"

namespace lockstep::testing {

inline constexpr float kLr = 0.125f;
inline constexpr uint64_t kRounds = 200;
inline constexpr int64_t kBlockElements = 1000;

// Of every server that good workers train on: kLr, kBlockElements, one connection, a lease that does not run out.
std::vector<std::string> Flags();

// The code is `code`, and each of `words` is in the message.
void ExpectError(const absl::Status& status, absl::StatusCode code, const std::vector<std::string>& words);

// All servers end by themselves with code 0, as they do when the run is done.
void ExpectAllEnd(Cluster& cluster);

// The seed of a test that sends random bytes: LOCKSTEP_SEED, or 1. Prints the command that repeats the test with it.
uint64_t PrintedSeed();

// Workers that do everything right, each in a thread, training to version kRounds. They take their time, so that guests
// come in the middle of training, and wait short of the end until Hurry.
class GoodWorkers {
 public:
  // They are called good-0, good-1, ...
  GoodWorkers(const std::string& coordinator, uint32_t count);
  ~GoodWorkers() { Join(); }

  const Tiny& tiny() const { return tiny_; }
  void Hurry() { hurry_ = true; }
  // Blocks until they have ended; each of them holds what `workers` workers in all, they among them, must come to.
  void ExpectReference(uint32_t workers);

 private:
  void Join();

  const Tiny tiny_;
  std::atomic<bool> hurry_ = false;
  std::vector<Tiny::Values> values_;
  std::vector<absl::Status> statuses_;
  std::vector<std::thread> threads_;
};

// ---- Strangers: they hold no place in the run ----

struct Stranger {
  std::string name;               // of the case, for messages
  std::vector<std::string> says;  // messages as bytes
  absl::StatusCode code;          // what it hears
  std::vector<std::string> words;
};

// Each of `strangers` in turn opens a stream of `method` at `address`, says its piece, and is refused.
void ExpectRefused(const std::string& address, const std::string& method, const std::vector<Stranger>& strangers);

// A run of two shards and two good workers, in the middle of training when the test begins.
class StrangerTest : public ::testing::Test {
 protected:
  void SetUp() override;

  Cluster& cluster() { return *cluster_; }
  // The run as the test found it.
  const v1::Status& before() const { return before_; }
  // Consequences 2 and 3, with the end of the run: a test's last line.
  void ExpectNobodyNoticed();

 private:
  std::optional<Cluster> cluster_;
  std::optional<GoodWorkers> good_;
  v1::Status before_;
};

// ---- Members: they have joined by the protocol, and go wrong then ----

struct Member {
  std::shared_ptr<Guest> membership;  // to the coordinator
  uint64_t incarnation = 0;
  v1::Welcome welcome;
  v1::Announce announce;
  std::shared_ptr<Guest> data;  // to shard 0
  uint64_t round = 0;           // being collected there
};

// Joins as "guest" and attaches to shard 0. Takes the place from the "guest" before. Fatal failures, where it fails:
// use ASSERT_NO_FATAL_FAILURE.
void Enter(const Cluster& cluster, const ModelSpec& model, Member& member);

// Trains as "guest" to the end of the run, as a good worker: the place can still be taken.
void ExpectGuestTrainsToTheEnd(const Cluster& cluster, const Tiny& tiny);

// Waits until `count` workers have defined their model.
bool AwaitActive(const Cluster& cluster, int count);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_INTEGRATION_BAD_INPUT_H_
