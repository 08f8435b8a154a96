// Worker::Impl: joins the worker's decisions (SessionCore), its streams and the caller's memory. It owns the lock, the
// clock and one thread for what time brings about: heartbeats and connecting again.
//
//   event -> lock { session.Step; queue messages on streams } -> unlock -> flush the streams, finish calls
//
// Lock order: mutex_, then a stream's own, then LentMemory's. Callbacks of the caller run without any lock.
#ifndef LOCKSTEP_WORKER_CLIENT_WORKER_IMPL_H_
#define LOCKSTEP_WORKER_CLIENT_WORKER_IMPL_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "common/model.h"
#include "common/mutex.h"
#include "common/wire/frame.h"
#include "worker/client/lent_memory.h"
#include "worker/client/session.h"
#include "worker/client/streams.h"
#include "worker/client/worker.h"

namespace lockstep {

class Worker::Impl : public client::MembershipStream::Owner, public client::DataStream::Owner {
 public:
  using Done = std::function<void(absl::StatusOr<RoundResult>)>;

  explicit Impl(JoinOptions options);
  ~Impl() override;

  absl::Status Join();
  absl::Status StartDefine(const ModelSpec& model, ParameterSpans parameters);
  absl::Status StartPushPull(GradientSpans gradients, float weight, ParameterSpans parameters, Done done);
  absl::StatusOr<RoundResult> Wait(absl::Duration timeout);
  absl::Status Leave(absl::Duration timeout);

  Rank rank() const;
  uint32_t workers() const;
  uint32_t shards() const;
  const std::string& run_id() const { return run_id_; }
  uint64_t generation() const;

 private:
  // What a call of the user has lent us, and what it waits for.
  struct Call {
    Round round;
    float weight = 0;
    std::vector<absl::Span<const float>> gradients;  // per tensor; empty when there is no payload
    std::vector<absl::Span<float>> parameters;       // per tensor
    std::shared_ptr<client::LentMemory> memory = std::make_shared<client::LentMemory>();
    std::vector<std::vector<float>> initial_values;  // round 0: what `gradients` refers to
    std::optional<absl::StatusOr<RoundResult>> result;
    Done done;               // null for blocking calls
    bool delivered = false;  // `done` has been called, or is being called
  };
  struct Connection {
    std::shared_ptr<client::DataStream> stream;  // null: to be opened at retry_at
    absl::Time retry_at = absl::InfinitePast();
    uint64_t attempts = 0;
    // The contribution's blocks that go over this connection: sent as earlier ones come back as parameters, so that no
    // worker runs ahead of the others by more than its credit.
    v1::FrameHeader header;       // what their headers have in common
    size_t next_slot = SIZE_MAX;  // the first that has not been sent
    absl::flat_hash_set<Slot> under_way;
    uint64_t under_way_bytes = 0;
  };
  // What an event leaves to be done without the lock.
  struct Todo {
    std::vector<std::shared_ptr<client::DataStream>> flush;
    std::shared_ptr<Call> deliver;  // its `done` is to be called
  };

  // Streams.
  void OnCommand(const v1::WorkerCommand& command) override;
  void OnMembershipClosed(const client::MembershipStream& stream, const grpc::Status& status) override;
  void OnData(client::DataStream& stream, grpc::ByteBuffer& message) override;
  void OnDataClosed(const client::DataStream& stream, const grpc::Status& status) override;

  void CancelDataLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteDataClosedLocked(const client::DataStream& stream, const absl::Status& status, Todo& todo)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const void* stream);
  void OnWelcomeLocked(const v1::Welcome& welcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAnnounceLocked(const v1::Announce& announce, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnParameters(client::DataStream& stream, wire::Frame& frame);
  void OnComplete(const client::DataStream& stream, const v1::FrameHeader& header);
  void OpenMembershipLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OpenDataLocked(ShardIndex shard, uint32_t connection, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status MakeSessionLocked(const v1::Announce& announce) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Decisions.
  template <typename Event>
  void StepLocked(const Event& event, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::SendAttach& effect, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::SendContribution& effect, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::StoreBlock& effect, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::VersionHeld& effect, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const client::SessionFailed& effect, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailLocked(const absl::Status& status, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SettleLocked(absl::StatusOr<RoundResult> result, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends as many blocks of the contribution as the credit allows.
  void PumpLocked(ShardIndex shard, uint32_t connection, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteReturnedLocked(ShardIndex shard, const Block& block, Todo& todo) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StepCompleteLocked(ShardIndex shard, const v1::FrameHeader& header, Todo& todo)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::function<std::optional<grpc::ByteBuffer>()> BlockMakerLocked(BlockIndex index, v1::FrameHeader header)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Do(Todo todo);

  // Calls.
  bool CallUnderWayLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckReadyLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckSizes(const char* what, const std::vector<size_t>& sizes) const;
  absl::Status DeadlineError(absl::Duration timeout);
  void ReclaimMemory(Call& call);
  void Deliver(Call& call);

  // Time.
  void KeepTime();
  absl::Duration HeartbeatEveryLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const JoinOptions options_;
  const Incarnation incarnation_;

  mutable Mutex mutex_;
  // Membership.
  std::shared_ptr<client::MembershipStream> membership_ ABSL_GUARDED_BY(mutex_);
  uint64_t membership_attempts_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time membership_retry_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time next_heartbeat_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Time data_quiet_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();        // of complaints
  absl::Time membership_quiet_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // of complaints
  absl::Status membership_status_ ABSL_GUARDED_BY(mutex_);  // of the newest attempt that failed
  bool welcomed_ ABSL_GUARDED_BY(mutex_) = false;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  bool left_ ABSL_GUARDED_BY(mutex_) = false;
  v1::Welcome welcome_ ABSL_GUARDED_BY(mutex_);
  std::string run_id_;  // set by the first Welcome, before Join returns
  std::optional<absl::Status> fatal_ ABSL_GUARDED_BY(mutex_);
  // Model and rounds. `model_` and `layout_` are set once and then only read.
  std::optional<ModelSpec> model_;
  std::unique_ptr<const BlockLayout> layout_;
  v1::Announce announce_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<client::SessionCore> session_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::vector<Connection>> connections_ ABSL_GUARDED_BY(mutex_);  // [shard][connection]
  std::shared_ptr<Call> call_ ABSL_GUARDED_BY(mutex_);
  // To be delivered by the timekeeper, since gRPC still holds on to some of the caller's memory.
  std::shared_ptr<Call> late_delivery_ ABSL_GUARDED_BY(mutex_);
  bool store_block_ ABSL_GUARDED_BY(mutex_) = false;  // the step that was just taken asked for it
  // Streams that may still call back.
  absl::flat_hash_set<const void*> alive_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread timekeeper_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_WORKER_CLIENT_WORKER_IMPL_H_
