// Worker: a training process's place in a run. This is the library that training loops use.
//
//   auto worker = Worker::Join({.coordinator = "127.0.0.1:7700", .name = "worker-0"});  // waits for a place
//   if (!worker.ok()) return worker.status();
//   auto held = (*worker)->Define(model, parameters);  // the lowest rank's values; all get them
//   while (held.ok() && held->version < rounds) {
//     ... gradients from parameters, for round held->version + 1 ...
//     held = (*worker)->PushPull(gradients, samples, parameters);  // blocks until it holds the next version
//   }
//   if (!held.ok()) return held.status();
//   return (*worker)->Leave();
//
// See worker/client/example.cc for a whole program.
//
// What the library does by itself: heartbeats; connecting again; following generation changes (a worker or a shard was
// replaced): it fetches what is missing and sends the same contribution again. PushPull returns only when the round is
// committed on every shard, and tells whose contributions made it.
//
// Memory: gradients and parameters stay the caller's. Gradients are sent from where they are, without a copy;
// parameters are written where they should be. From the start of a call until its result both belong to the call: do
// not touch them. After an error the contents of the parameters are undefined.
//
// Names: an answer of the name service that is lost costs 5 s, unless the process's environment has
// RES_OPTIONS=retrans:900, which lockstep-worker sets for itself; then 1 s.
//
// Thread-safety: one call at a time; status questions (rank, generation, ...) from any thread. Callbacks run on a
// thread of the library, or on the one that destroys the Worker. They must not call back into the Worker, nor block.
#ifndef LOCKSTEP_WORKER_CLIENT_WORKER_H_
#define LOCKSTEP_WORKER_CLIENT_WORKER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/ids.h"
#include "common/model.h"

namespace lockstep {

// One array per tensor of the model, in its order, each of the tensor's number of elements.
using GradientSpans = absl::Span<const absl::Span<const float>>;
using ParameterSpans = absl::Span<const absl::Span<float>>;

struct JoinOptions {
  std::string coordinator = {};   // "host:port" of shard 0
  std::string name = {};          // unique among the workers; a restarted process of the same name takes its rank back
  std::optional<Rank> rank = {};  // absent: the coordinator gives one
  std::string run_id = {};        // empty: whatever run the coordinator has
  absl::Duration timeout = absl::InfiniteDuration();  // to find the coordinator and get a rank
};

// A version that the worker holds now.
struct RoundResult {
  uint64_t version = 0;
  // Ranks whose contributions made it. Without this worker's rank its contribution did not count (the log says why).
  std::vector<uint32_t> participants;
  // This worker's contribution made it. False for a version that it was given: to start with, or, under another round
  // policy than `all`, because the round was closed without it ("dropped").
  bool counted = false;
  uint64_t generation = 0;
  // A shard had lost what it had, and the run has gone back to `version`: what this call brought does not count. Go on
  // with round version + 1.
  bool rolled_back = false;
};

// Error codes of all calls. The first three leave the worker as it was:
//
// - DEADLINE_EXCEEDED: says who is missing. The round goes on: wait again (Wait), or give up (destroy the Worker).
// - FAILED_PRECONDITION: calls in the wrong order.
// - INVALID_ARGUMENT, returned before anything is sent: a size, a weight or the model is wrong; says what was expected.
//
// The others are the end of the worker, and every later call returns the same. It gives its place up: no heartbeats,
// so that the others wait for it no longer than a lease.
//
// - PERMISSION_DENIED: fenced: another process holds the rank now, or it was evicted. End the process.
// - INVALID_ARGUMENT, from the run: the model is not the others', the rank does not exist, the coordinator's address is
//   another server's, or a shard refused what was sent: the run of the others goes on. Or the run has failed because
//   somebody contributed NaN or Inf (--nan-policy fail): says which rank, in which round, where.
// - ABORTED: the run has failed, or this is another run. Start again.
// - DATA_LOSS: the servers have lost a version that this worker holds. The run must start again.
// - RESOURCE_EXHAUSTED: Join: all ranks were taken by live workers until the timeout. Later: a message is over the
//   shard's limit.
// - UNAVAILABLE: Join: no coordinator gave an answer until the timeout; says what was tried.
// - ALREADY_EXISTS: Join: the run is done, or the worker of this name has left it.
// - CANCELLED: the Worker was destroyed while the call was under way.
// - INTERNAL: coordinator or shards contradict themselves or each other.
class Worker {
 public:
  // Blocks until the coordinator has given this process a rank, or until options.timeout: UNAVAILABLE then says what
  // was tried. Any start order works.
  static absl::StatusOr<std::unique_ptr<Worker>> Join(JoinOptions options);

  // Ends at once, without leaving: to the others this looks like a crash. Blocks for a moment until the library has let
  // go of the caller's memory.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Rank rank() const;
  uint32_t workers() const;  // of the run
  uint32_t shards() const;
  const std::string& run_id() const;
  uint64_t generation() const;  // the newest that this worker knows

  // Defines the model and gets the parameters of the run's current version: version 0 for a run that starts (the values
  // that the lowest rank has brought in `parameters`), a later one for a replacement. Every worker defines the same
  // model, and a mismatch names the first tensor that differs. Blocks until all ranks are there and the version has
  // come.
  absl::StatusOr<RoundResult> Define(const ModelSpec& model, ParameterSpans parameters,
                                     absl::Duration timeout = absl::InfiniteDuration());

  // Contributes `gradients` with `weight` (normally the number of samples; from 0 to kMaxWeight, about 8e34, see
  // common/weight.h) to the next round and blocks until this worker holds the version that the round makes, in
  // `parameters`. Weight 0: nothing to contribute, `gradients` may be empty. `parameters` may be the arrays that the
  // gradients were computed from, but must not overlap the gradients.
  //
  // Under the round policies quorum and deadline a round may be closed without this worker. Then its contribution does
  // not count, the result says so (`counted`), and the version is the newest, perhaps several after the one before: go
  // on from there.
  absl::StatusOr<RoundResult> PushPull(GradientSpans gradients, float weight, ParameterSpans parameters,
                                       absl::Duration timeout = absl::InfiniteDuration());

  // The same without blocking: `done` is called once with the result. From then on the next call may begin, though not
  // in `done` itself. INVALID_ARGUMENT, FAILED_PRECONDITION and the error of a worker that has ended are returned, and
  // `done` is not called then.
  absl::Status PushPullAsync(GradientSpans gradients, float weight, ParameterSpans parameters,
                             std::function<void(absl::StatusOr<RoundResult>)> done);

  // Blocks until the call that is under way has its result: after PushPullAsync (the callback is called, too), or after
  // a call that ended with DEADLINE_EXCEEDED.
  absl::StatusOr<RoundResult> Wait(absl::Duration timeout = absl::InfiniteDuration());

  // Leaves the run cleanly. Blocks until the coordinator knows, for at most `timeout`. No call may be under way.
  absl::Status Leave(absl::Duration timeout = absl::Seconds(30));

 private:
  class Impl;
  explicit Worker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_WORKER_CLIENT_WORKER_H_
