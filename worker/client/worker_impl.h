// Worker::Impl: the one lock around the worker's parts, the streams' callbacks, and one thread for what time brings
// about (heartbeats, connecting again, results that have to wait for memory).
//
//                    +- Membership   the place in the run: join, beat, leave, what is final
//   event -> lock {  +- SessionCore  rounds and generations: what to send, what counts        } -> unlock -> Do(Todo):
//                    +- DataStreams  connections to shards: greeting, credit, blocks          }      open and flush,
//                    +- Calls        what the caller wants and has lent                       }      tell the caller
//
// The parts decide and queue; they know nothing of the lock, of each other's state or of threads. This class decides
// nothing: it carries from one to the other.
//
// Threads: the caller's (Join, Start..., Wait, Leave; these may block), gRPC's (On...; never block) and the
// timekeeper's. Lock order: mutex_, then a stream's own, then LentMemory's. Under mutex_ nothing is sent and gRPC is
// not called; what is to be opened, flushed, cancelled or told is collected and done afterwards. Callbacks of the
// caller run without any lock.
//
// Life time: a stream is in alive_ from the section that makes it until its last callback is over; the destructor waits
// for that. After `fatal` no stream is made, so that the streams which the destructor cancels are all there are. The
// stream to the coordinator goes with `fatal` itself: a worker that cannot go on gives no heartbeats, so that its rank
// is free for another after a lease, even if the caller keeps the Worker.
#ifndef LOCKSTEP_WORKER_CLIENT_WORKER_IMPL_H_
#define LOCKSTEP_WORKER_CLIENT_WORKER_IMPL_H_

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "common/model.h"
#include "common/mutex.h"
#include "common/wire/frame.h"
#include "worker/client/calls.h"
#include "worker/client/data_streams.h"
#include "worker/client/membership.h"
#include "worker/client/session.h"
#include "worker/client/streams.h"
#include "worker/client/todo.h"
#include "worker/client/worker.h"

namespace lockstep {

class Worker::Impl : public client::MembershipStream::Owner, public client::DataStream::Owner {
 public:
  explicit Impl(JoinOptions options);
  ~Impl() override;

  // As the functions of Worker; Start... do not block.
  absl::Status Join();
  absl::Status StartDefine(const ModelSpec& model, ParameterSpans parameters);
  absl::Status StartPushPull(GradientSpans gradients, float weight, ParameterSpans parameters, client::Done done);
  absl::StatusOr<RoundResult> Wait(absl::Duration timeout);
  absl::Status Leave(absl::Duration timeout);

  Rank rank() const;
  uint32_t workers() const;
  uint32_t shards() const;
  const std::string& run_id() const;
  uint64_t generation() const;

 private:
  // ---- Streams' callbacks ----
  void OnCommand(const v1::WorkerCommand& command) override;
  void OnMembershipClosed(const client::MembershipStream& stream, const grpc::Status& status) override;
  void OnData(client::DataStream& stream, grpc::ByteBuffer& message) override;
  void OnDataClosed(const client::DataStream& stream, const grpc::Status& status) override;

  void OnParameters(client::DataStream& stream, wire::Frame& frame);
  void OnComplete(const client::DataStream& stream, const v1::FrameHeader& header);
  void OnAnnounceLocked(const v1::Announce& announce, client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MakeMembershipLocked(client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A stream for each connection that has none and is due, its greeting queued.
  void MakeDataLocked(absl::Time due, client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The worker is over, and gives its place up.
  void FailLocked(const absl::Status& status, client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const void* stream);

  // ---- SessionCore's decisions ----
  template <typename Event>
  void StepLocked(const Event& event, client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StepCompleteLocked(ShardIndex shard, const v1::FrameHeader& header, client::Todo& todo)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::SendAttach& effect, client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::SendContribution& effect, client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::StoreBlock& effect, client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::VersionHeld& effect, client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::SessionFailed& effect, client::Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // ---- Without the lock ----
  // Never blocks: a result whose memory is still lent is left to the timekeeper.
  void Do(client::Todo todo) ABSL_LOCKS_EXCLUDED(mutex_);
  void CancelData() ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocks until nobody uses the caller's memory any more; ends connections that hold on to it.
  void ReclaimMemory(client::Call& call) ABSL_LOCKS_EXCLUDED(mutex_);
  void Deliver(client::Call& call) ABSL_LOCKS_EXCLUDED(mutex_);
  // Asks the coordinator who is missing; blocks for half a second at most.
  absl::Status DeadlineError(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);
  void KeepTime() ABSL_LOCKS_EXCLUDED(mutex_);

  const JoinOptions options_;
  const Incarnation incarnation_;

  mutable Mutex mutex_;
  client::Membership membership_ ABSL_GUARDED_BY(mutex_);
  client::DataStreams data_ ABSL_GUARDED_BY(mutex_);  // its layout may be read without the lock
  client::Calls calls_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<client::SessionCore> session_ ABSL_GUARDED_BY(mutex_);  // since the first Announce
  std::optional<ModelSpec> model_ ABSL_GUARDED_BY(mutex_);                // set once, by Define
  absl::flat_hash_set<const void*> alive_ ABSL_GUARDED_BY(mutex_);        // streams that may still call back
  std::optional<Round> excluded_from_ ABSL_GUARDED_BY(mutex_);            // the log says why
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread timekeeper_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_WORKER_CLIENT_WORKER_IMPL_H_
