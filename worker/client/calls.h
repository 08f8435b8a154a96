// Calls: what the caller wants now (Define or PushPull: at most one at a time), what it has lent for that, and how it
// gets its result.
//
//   Begin -> Settle(result), once -> blocking: Wait returns it            } not before every piece of the caller's
//                                 -> asynchronous: `done` is called, once } memory is back
//   Fail: the worker is over; the call under way, and every later one, ends with that error
//
// A call that ends with DEADLINE_EXCEEDED is still under way: Wait again, or destroy the Worker. An asynchronous one is
// over for its caller as soon as `done` has been called, though that may not have returned: the next may begin.
//
// Memory. Gradients and parameters are the caller's, and lent (LentMemory) until the result is out. A result normally
// proves that all is back. Where gRPC still holds on to some (a shard that reads no more, a contribution that was sent
// twice), the memory is closed, and somebody waits who may wait: the caller's own thread in Wait; for an asynchronous
// call the timekeeper, to whom DeliverLater leaves it (it looks again and again, since heartbeats cannot wait); at the
// end the destructor of the Worker.
//
// Thread-safety: none; everything is called under the driver's lock (Worker::Impl::mutex_). Nothing here blocks, and
// nothing calls the caller back: Todo::deliver does, without the lock.
#ifndef LOCKSTEP_WORKER_CLIENT_CALLS_H_
#define LOCKSTEP_WORKER_CLIENT_CALLS_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/ids.h"
#include "common/model.h"
#include "worker/client/lent_memory.h"
#include "worker/client/todo.h"
#include "worker/client/worker.h"

namespace lockstep::client {

using Done = std::function<void(absl::StatusOr<RoundResult>)>;

// What the caller has lent, and what it waits for. The arrays are touched without the lock, by those whom `memory` has
// lent a piece; `result`, `told` and `delivered` under the driver's lock only, but for `result` once it is being told.
struct Call {
  Round round;
  float weight = 0;
  std::vector<absl::Span<const float>> gradients;  // per tensor; empty when there is no payload
  std::vector<absl::Span<float>> parameters;       // per tensor
  std::shared_ptr<LentMemory> memory = std::make_shared<LentMemory>();
  std::vector<std::vector<float>> initial_values;  // round 0: what `gradients` refers to
  std::optional<absl::StatusOr<RoundResult>> result;
  Done done;               // null for blocking calls
  bool told = false;       // `done` is being called: the caller knows, its memory is its own again
  bool delivered = false;  // `done` has returned
};

// INVALID_ARGUMENT unless there is an array of the right size for each tensor; `what` names the argument.
absl::Status CheckSizes(const std::string& what, const ModelSpec& model, const std::vector<size_t>& sizes);

class Calls {
 public:
  // ---- Questions ----
  // The newest call, until its result is out; or null. An asynchronous one stays until the next call or Wait.
  const std::shared_ptr<Call>& current() const { return current_; }
  bool UnderWay() const { return current_ != nullptr && !current_->told; }
  // The error that has ended the worker, if one has.
  const std::optional<absl::Status>& fatal() const { return fatal_; }
  // Whether a call may begin: the error that has ended the worker, or FAILED_PRECONDITION.
  absl::Status CheckReady(bool leaving) const;
  // Wait has nothing to wait for any more. (A condition for the driver's lock.)
  static bool IsOver(Call* call) { return call->done == nullptr ? call->result.has_value() : call->delivered; }

  // ---- Changes ----
  void Begin(std::shared_ptr<Call> call) { current_ = std::move(call); }
  // The call under way has its result; later ones are ignored.
  void Settle(absl::StatusOr<RoundResult> result, Todo& todo);
  // The worker is over. The first error counts.
  void Fail(const absl::Status& status, Todo& todo);
  // Wait has returned the result of `call`.
  void Drop(const Call& call);

  // A settled call whose memory is not back yet: somebody must look after it.
  void DeliverLater(std::shared_ptr<Call> call) { late_ = std::move(call); }
  bool HasLate() const { return late_ != nullptr; }
  // That call if its memory is back now, or if the caller may wait for it (`anyway`), given out once; else null.
  std::shared_ptr<Call> TakeLate(bool anyway);

 private:
  std::shared_ptr<Call> current_;
  std::shared_ptr<Call> late_;
  std::optional<absl::Status> fatal_;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_CALLS_H_
