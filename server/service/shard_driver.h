// ShardDriver: the one place that joins a shard's decisions (core::ShardCore), its memory (ShardModel) and its
// connections. It owns the lock and reads the clock.
//
//   event --> lock { core.Step -> effects;  ShardPlanner: effects -> work that holds all it needs } --> unlock
//     ^                                                                                                  |
//     `---- ShardEvents: OnGroupSummed, OnReduced <---- ShardPerformer: sends, computes, answers <-------'
//
// Every event enters by one door, StepLocked, whoever brings it: a frame, the coordinator, or the end of work. Work
// that ends on another thread comes in by ShardEvents too; the core holds back what must wait for it. (So a round's
// durable append lies between OnReduced of its last block and its SendComplete: an effect, and an event of
// JournalThread; only the core knows that the one waits for the other.)
//
// Frames of different threads may be queued in any order: they name their generation and version, and receivers do not
// depend on their order.
//
// Lock order: ShardDriver::mutex_, then a stream's, the journal's or the checkpointer's own. Nothing is sent and no
// call of gRPC made under mutex_. Thread-safety: all of it. Nothing blocks for long: a computation runs on the thread
// that brought the last contribution.
#ifndef LOCKSTEP_SERVER_SERVICE_SHARD_DRIVER_H_
#define LOCKSTEP_SERVER_SERVICE_SHARD_DRIVER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "common/wire/frame.h"
#include "proto/coordinator.pb.h"
#include "proto/shard.pb.h"
#include "server/core/shard.h"
#include "server/service/checkpointer.h"
#include "server/service/exchange_stream.h"
#include "server/service/journal_thread.h"
#include "server/service/machine_memory.h"
#include "server/service/not_finite.h"
#include "server/service/readers.h"
#include "server/service/recovery.h"
#include "server/service/shard_model.h"
#include "server/service/shard_performer.h"
#include "server/service/shard_planner.h"

namespace lockstep::service {

struct ShardOptions {
  ShardIndex shard;
  Incarnation self;
  bool checksums = false;                    // of the blocks that are sent
  uint64_t machine_bytes = MachineMemory();  // a model that may need more is refused
  // Where rounds are kept; null: nowhere, this shard's memory is all. Must outlive the driver.
  storage::FileSystem* files = nullptr;
  ShardFolders folders = {};
  storage::JournalOptions journal = {};
  core::Durability durability = core::Durability::kJournal;  // counts if there are `files`
  std::string damage = {};                                   // why this shard begins without what it had, if so
};

class ShardDriver : public ExchangeStream::Owner,
                    private ShardEvents,
                    private JournalThread::Events,
                    private Checkpointer::Events {
 public:
  // `answer` carries messages to the coordinator; it must not block and may be called from any thread. `recovered`:
  // what this shard had before.
  ShardDriver(ShardOptions options, std::function<void(v1::ShardMessage)> answer,
              std::optional<RecoveredShard> recovered = std::nullopt);

  Incarnation incarnation() const { return options_.self; }
  ShardIndex shard() const { return options_.shard; }
  // The run that this life of the shard serves; empty before it has been welcomed.
  std::string run_id() const;
  // The same, but empty until the shard holds something of the run: till then it can serve another one.
  std::string bound_run_id() const;

  // From now on the round in progress ends, if something of it has come, and no other one begins here: workers and
  // readers are told UNAVAILABLE, and connect again until another life of the shard takes them.
  void Stop();
  // After Stop: nothing of any round is on its way any more.
  bool Quiet() const;
  // Ends every worker's stream with UNAVAILABLE, after what has been sent to it.
  void LetGo();

  // Nothing is written to the disk any more when this returns; what it has not taken yet is given up. Waits for the
  // calls to the disk that are under way.
  void StopWriting();

  // ---- From the coordinator ----
  void Welcome(const std::string& run_id);
  void Seal(const v1::Seal& seal);
  void Install(const v1::Install& install);
  // What the coordinator has decided about rounds.
  void Close(const v1::Close& close);
  void Give(const v1::Give& give);
  void TakeCheckpoint(const v1::TakeCheckpoint& command);
  void KeepManifest(const v1::CheckpointFinished& finished);
  void FindRestorable(const v1::FindRestorable& find);
  // A summary for the coordinator; takes the rounds completed since the last call.
  v1::ShardReport Report();

  // ---- From workers and readers ----
  void OnFrame(const std::shared_ptr<ExchangeStream>& stream, grpc::ByteBuffer& message) override;
  void OnStreamClosed(const ExchangeStream& stream) override;
  void Pull(const v1::PullRequest& request, std::shared_ptr<PullStream> stream);

 private:
  // ---- From work that has ended ----
  void OnGroupSummed(Slot slot, uint32_t group, storage::BufferRef sum) override;
  void OnReduced(Slot slot, storage::Made made) override;
  void OnNotFinite(Slot slot, std::vector<InBlock> found) override;
  void OnRoundJournaled(Generation generation, Version version) override;
  void OnInstallJournaled(Generation generation) override;
  void OnBaseWritten(const ShardBase& base) override;
  void OnCheckpointFailed(Version version, const absl::Status& why) override;

  // One event through the core; what comes of it is appended to `work`.
  template <typename Event>
  void StepLocked(const Event& event, const Origin& origin, WorkList& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteCompletedLocked(WorkList& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::ShardReport ReportLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes the memory for the model at the first install, without the lock: that may take a while.
  absl::Status Prepare(const v1::Install& install) ABSL_LOCKS_EXCLUDED(mutex_);
  // A contribution that would be kept must be within its rank's credit.
  absl::Status CheckCreditLocked(Rank rank, const wire::Frame& frame) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Starts a checkpoint of the version that has just been committed, if it is the one that was named.
  void MaybeCheckpointLocked(Version version, WorkList& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Compacts the journal if the one that it came back from is long, so that the next life need not replay all that
  // again, however short this one is.
  void MaybeCompactLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The blocks are those of `version`, which is committed.
  Checkpointer::Request RequestLocked(Version version, bool compacts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MissCheckpointLocked(Version version, absl::string_view error, WorkList& work)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes a version from files, on the thread of checkpoints, and then installs.
  void StartRestoringLocked(const v1::Install& install, WorkList& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RestoreAndInstall(const v1::Install& install);
  void InstallLocked(const v1::Install& install, WorkList& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefuseInstallLocked(const v1::Install& install, absl::Status why, WorkList& work)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void OnAttach(const std::shared_ptr<ExchangeStream>& stream, const v1::FrameHeader& header);
  void OnContribution(const std::shared_ptr<ExchangeStream>& stream, wire::Frame& frame);
  void OnEmptyContribution(const std::shared_ptr<ExchangeStream>& stream, const v1::FrameHeader& header);
  // UNAVAILABLE if the shard is stopping and has no round in progress.
  absl::Status CheckOpenLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckAttachLocked(const v1::FrameHeader& header) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The block that a contribution of an attached worker is to, if the frame is a right one for it.
  absl::StatusOr<const Block*> CheckContribution(const wire::Frame& frame) const;
  // Ends a stream whose frame has been found wrong before any step.
  void Reject(const std::shared_ptr<ExchangeStream>& stream, absl::Status status) const;

  core::ShardCore NewCore() const { return core::ShardCore(options_.self, durability()); }
  core::Durability durability() const {
    return options_.files == nullptr ? core::Durability::kNone : options_.durability;
  }

  const ShardOptions options_;

  mutable Mutex mutex_;
  std::string run_id_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  core::ShardCore core_ ABSL_GUARDED_BY(mutex_);
  Readers readers_ ABSL_GUARDED_BY(mutex_);
  std::vector<core::FoundNotFinite> not_finite_ ABSL_GUARDED_BY(mutex_);  // in the round in progress
  Round seen_round_ ABSL_GUARDED_BY(mutex_);                              // core_.next_round() after the last event
  std::vector<core::RoundTimes> completed_ ABSL_GUARDED_BY(mutex_);       // not reported yet
  // The blocks are being restored for this generation: nothing else may touch them, and nobody is answered.
  std::optional<Generation> restoring_ ABSL_GUARDED_BY(mutex_);
  std::optional<v1::Seal> deferred_seal_ ABSL_GUARDED_BY(mutex_);  // the newest that came meanwhile
  std::optional<Version> named_ ABSL_GUARDED_BY(mutex_);           // to be written when it is committed
  std::optional<Version> writing_ ABSL_GUARDED_BY(mutex_);         // under way at checkpointer_
  std::optional<ShardBase> base_ ABSL_GUARDED_BY(mutex_);          // the newest that is on the disk
  std::optional<ShardBase> part_ ABSL_GUARDED_BY(mutex_);  // the newest that is of a checkpoint, as far as is known
  uint64_t replayed_ ABSL_GUARDED_BY(mutex_) = 0;          // rounds, when it came back; 0 once that has been dealt with
  // Made under the lock by the first Install and never replaced. What is constant of it is read without the lock once
  // an attached stream proves that it is there; its store is computed with by performer_, and changed under the lock.
  std::unique_ptr<ShardModel> model_;

  // Null: none. Their threads come back here, so that they go before the rest.
  std::unique_ptr<JournalThread> journal_;
  std::unique_ptr<Checkpointer> checkpointer_;
  ShardPlanner planner_ ABSL_GUARDED_BY(mutex_);
  const ShardPerformer performer_;  // without mutex_
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_SHARD_DRIVER_H_
