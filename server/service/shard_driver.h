// ShardDriver: the one place that joins a shard's decisions (core::ShardCore), its memory (storage::BlockStore) and its
// connections. It owns the lock and reads the clock.
//
//   event -> lock { core.Step; plan: turn effects into work that holds references to all it needs } -> unlock -> work
//
// Work is sending frames, computing blocks and answering the coordinator; it never runs under the lock, and what it
// ends with (BlockReduced, GroupSummed) comes back as an event. Frames of different threads may be queued in any order:
// they name their generation and version, and receivers do not depend on their order.
//
// Lock order: ShardDriver::mutex_ before a stream's own. Thread-safety: all of it. Nothing blocks for long: a
// computation runs on the thread that brought the last contribution.
#ifndef LOCKSTEP_SERVER_SERVICE_SHARD_DRIVER_H_
#define LOCKSTEP_SERVER_SERVICE_SHARD_DRIVER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "common/model.h"
#include "common/mutex.h"
#include "common/wire/frame.h"
#include "common/wire/server_stream.h"
#include "proto/coordinator.pb.h"
#include "proto/shard.pb.h"
#include "server/core/shard.h"
#include "server/storage/block_store.h"

namespace lockstep::service {

class ShardDriver;

// One connection of a worker. The driver's lock guards what it says about itself.
class ExchangeStream : public wire::ServerStream<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit ExchangeStream(ShardDriver* driver) : driver_(driver) {}

 private:
  friend class ShardDriver;
  void OnMessage(grpc::ByteBuffer& message) override;
  void OnClosed() override;

  ShardDriver* const driver_;
  bool attached_ = false;  // guarded by ShardDriver::mutex_, as what follows
  Member who_;
  uint32_t connection_ = 0;
  uint64_t attempt_ = 0;
};

// Where a reader's frames go.
class PullStream {
 public:
  virtual ~PullStream() = default;
  // Queues the frames and then ends the stream. Called once.
  virtual void Serve(std::vector<grpc::ByteBuffer> frames) = 0;
  // `newest`: the newest version here, if the reader should ask for a later one.
  virtual void Refuse(const absl::Status& status, std::optional<uint64_t> newest) = 0;
  // The reader is gone: nobody waits for an answer.
  virtual bool ended() = 0;
};

class ShardDriver {
 public:
  // `answer` carries messages to the coordinator; it must not block and may be called from any thread.
  ShardDriver(ShardIndex index, Incarnation self, bool checksums, std::function<void(v1::ShardMessage)> answer);

  Incarnation incarnation() const { return incarnation_; }
  // The run that this life of the shard serves; empty before it has been welcomed.
  std::string run_id() const;
  // The same, but empty until the shard holds something of the run: till then it can serve another one.
  std::string bound_run_id() const;

  // ---- From the coordinator ----
  void Welcome(const std::string& run_id);
  void Seal(const v1::Seal& seal);
  void Install(const v1::Install& install);
  // A summary for the coordinator; takes the rounds completed since the last call.
  v1::ShardReport Report();

  // ---- From workers and readers ----
  void OnFrame(const std::shared_ptr<ExchangeStream>& stream, grpc::ByteBuffer& message);
  void OnStreamClosed(const ExchangeStream& stream);
  void Pull(const v1::PullRequest& request, std::shared_ptr<PullStream> stream);

 private:
  // Work to be done without the lock.
  struct Send {
    std::shared_ptr<ExchangeStream> stream;
    std::shared_ptr<const grpc::ByteBuffer> message;
  };
  struct KeptPayload {
    Rank rank;
    float weight = 0;
    wire::Slices payload;
  };
  struct Reduce {
    Round round;
    Slot slot;
    bool grouped = false;
    float total_weight = 0;
    std::vector<KeptPayload> payloads;
    std::vector<storage::BufferRef> group_sums;
  };
  struct Sum {
    Slot slot;
    uint32_t group = 0;
    std::vector<KeptPayload> payloads;
  };
  struct Reject {
    std::shared_ptr<ExchangeStream> stream;
    absl::Status status;
  };
  struct Answer {
    v1::ShardMessage message;
  };
  struct Served {
    std::shared_ptr<PullStream> stream;
    std::vector<grpc::ByteBuffer> frames;
  };
  using Work = std::variant<Send, Reduce, Sum, Reject, Answer, Served>;
  using WorkList = std::vector<Work>;

  struct WaitingPull {
    Version version;
    std::shared_ptr<PullStream> stream;
  };

  // What brought an event, and the work that comes of it.
  struct Context {
    wire::Frame* frame = nullptr;
    std::shared_ptr<ExchangeStream> stream;
    WorkList work;
  };

  // One event through the core, effects into context.work.
  template <typename Event>
  void StepLocked(const Event& event, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void OnAttach(const std::shared_ptr<ExchangeStream>& stream, const v1::FrameHeader& header);
  void OnContribution(const std::shared_ptr<ExchangeStream>& stream, wire::Frame& frame);
  void OnEmptyContribution(const std::shared_ptr<ExchangeStream>& stream, const v1::FrameHeader& header);
  size_t ReadersLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsOvertakenLocked(const ExchangeStream& stream) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckAttachLocked(const v1::FrameHeader& header) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // What an effect means here.
  void PlanLocked(const core::KeepPayload& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::RejectConnection& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::SumGroup& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::ReduceBlock& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::SendBlock& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::SendComplete& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::CommitVersion& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::UndoBlocks& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::DropContributions& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::AnswerSealed& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::AnswerInstalled& effect, Context& context) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendToLocked(const core::Destinations& to, grpc::ByteBuffer message, WorkList& work)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A PARAMETERS message; `header` brings what is not of the block.
  grpc::ByteBuffer BlockMessage(v1::FrameHeader header, Slot slot, const storage::BufferRef& block) const;
  void PlanLastBlockLocked(const core::SendBlock& block, const core::SendComplete& complete, Context& context)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<KeptPayload> TakeKeptLocked(Slot slot, const std::vector<core::Weighted>& contributors)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteCompletedLocked(WorkList& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<grpc::ByteBuffer> SnapshotLocked(Version version) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PrepareLocked(const v1::Install& install) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Perform(WorkList work);
  void Do(Send& send);
  void Do(Reduce& reduce);
  void Do(Sum& sum);
  void Do(Reject& reject);
  void Do(Answer& answer);
  void Do(Served& served);

  const ShardIndex index_;
  const Incarnation incarnation_;
  const bool checksums_;
  const std::function<void(v1::ShardMessage)> answer_;

  mutable Mutex mutex_;
  std::string run_id_ ABSL_GUARDED_BY(mutex_);
  core::ShardCore core_ ABSL_GUARDED_BY(mutex_);
  // Made by the first Install and never replaced; read without the lock once an attached stream proves that they are
  // there.
  std::unique_ptr<const BlockLayout> layout_;
  std::unique_ptr<storage::BlockStore> store_;
  uint32_t ranks_ ABSL_GUARDED_BY(mutex_) = 0;                          // of the run: its number of workers
  std::vector<wire::Slices> kept_ ABSL_GUARDED_BY(mutex_);              // [slot][rank]
  std::vector<storage::BufferRef> group_sums_ ABSL_GUARDED_BY(mutex_);  // [slot][group]
  uint64_t kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::pair<Rank, uint32_t>, std::shared_ptr<ExchangeStream>> streams_ ABSL_GUARDED_BY(mutex_);
  std::vector<WaitingPull> pulls_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<PullStream>> serving_pulls_ ABSL_GUARDED_BY(mutex_);  // each holds on to a version's blocks
  Round seen_round_ ABSL_GUARDED_BY(mutex_);                         // core_.next_round() after the last event
  std::vector<core::RoundTimes> completed_ ABSL_GUARDED_BY(mutex_);  // not reported yet
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_SHARD_DRIVER_H_
