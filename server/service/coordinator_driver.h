// CoordinatorDriver: joins the coordinator's decisions (core::CoordinatorCore) and its streams to workers and shards.
// It owns the lock and reads the clock; like ShardDriver, it steps under the lock and sends without it.
//
// Thread-safety: all of it. Nothing blocks but WaitUntilDrained.
#ifndef LOCKSTEP_SERVER_SERVICE_COORDINATOR_DRIVER_H_
#define LOCKSTEP_SERVER_SERVICE_COORDINATOR_DRIVER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "common/mutex.h"
#include "common/wire/server_stream.h"
#include "proto/control.pb.h"
#include "proto/coordinator.pb.h"
#include "server/core/checkpoints.h"
#include "server/core/coordinator.h"
#include "server/service/coordinator_store.h"
#include "server/service/manifest_writer.h"
#include "server/service/outbox.h"
#include "server/service/run_status.h"
#include "server/storage/fail_point.h"
#include "server/storage/file_system.h"

namespace lockstep::service {

class CoordinatorDriver;

// A worker's membership stream.
class WorkStream : public wire::ServerStream<v1::WorkerMessage, v1::WorkerCommand> {
 public:
  explicit WorkStream(CoordinatorDriver* driver) : driver_(driver) {}

 private:
  friend class CoordinatorDriver;
  void OnMessage(v1::WorkerMessage& message) override;
  void OnClosed() override;

  CoordinatorDriver* const driver_;
  bool joined_ = false;  // guarded by CoordinatorDriver::mutex_, as what follows
  Incarnation incarnation_;
  uint64_t attempt_ = 0;
};

// A shard's membership stream.
class ServeStream : public wire::ServerStream<v1::ShardMessage, v1::ShardCommand> {
 public:
  explicit ServeStream(CoordinatorDriver* driver) : driver_(driver) {}

 private:
  friend class CoordinatorDriver;
  void OnMessage(v1::ShardMessage& message) override;
  void OnClosed() override;

  CoordinatorDriver* const driver_;
  bool greeted_ = false;  // guarded by CoordinatorDriver::mutex_, as what follows
  ShardIndex shard_;
  Incarnation incarnation_;
  uint64_t attempt_ = 0;
};

// What the run is told at its start, beside its members.
struct RunSettings {
  v1::OptimizerConfig optimizer;
  uint64_t block_elements = 0;  // 0: chosen for the model
  uint32_t connections = 2;     // per worker and shard
  bool checksums = false;       // payloads of the data path carry checksums
  // 0: two blocks, or, if the policy decides about rounds, all: nothing comes back before the round is closed.
  uint64_t credit_bytes = 0;    // per connection, see Announce in proto/coordinator.proto; 0: two blocks
  bool stay_when_done = false;  // shards keep their streams when the run is done, and answer questions about it
  // Checkpoints of the run. Shards that have a journal get them at all, so that it stays small.
  uint64_t checkpoint_rounds = 0;  // rounds from one to the next; 0: chosen for the model
  absl::Duration checkpoint_interval = absl::InfiniteDuration();  // and after so long
  storage::FileSystem* files = nullptr;  // null: shards have no disk, and there are none. Must outlive the driver
  std::string checkpoint_folder;         // for manifests
  uint32_t keep_checkpoints = 3;
  storage::FailPoint fail_point = nullptr;
  std::optional<v1::RestoreSource> restore = {};  // what the run begins with; absent: what rank 0 brings
  std::string durability = {};                    // journal, checkpoint or memory: for status
  std::string warning = {};                       // for status
};

class CoordinatorDriver {
 public:
  // `store`: where the run is kept; null: nowhere. `saved`: the run that this coordinator goes on with; of the same
  // number of workers and shards.
  CoordinatorDriver(core::CoordinatorOptions options, RunSettings settings,
                    std::unique_ptr<CoordinatorStore> store = nullptr, std::optional<SavedRun> saved = std::nullopt);

  ~CoordinatorDriver();

  // Time passes; call it several times per lease.
  void Tick();

  void OnWorker(const std::shared_ptr<WorkStream>& stream, const v1::WorkerMessage& message);
  void OnWorkerClosed(const WorkStream& stream);
  void OnShard(const std::shared_ptr<ServeStream>& stream, const v1::ShardMessage& message);
  void OnShardClosed(const ServeStream& stream);

  v1::Status Status(uint32_t most_rounds) const;
  // Where shard `shard` listens. INVALID_ARGUMENT: this run has no such shard; UNAVAILABLE: it has not come, or is
  // away.
  absl::StatusOr<std::string> AddressOf(ShardIndex shard) const;
  absl::StatusOr<std::string> Evict(Rank rank);
  // Has a checkpoint written soon; returns how things stood before. FAILED_PRECONDITION: there can be none, and why.
  absl::StatusOr<v1::CheckpointStatus> TakeCheckpoint();

  // The run is done or has failed.
  bool ended() const;

  // Lets go of every worker and shard with UNAVAILABLE, and of whoever comes from now on: they look for the next life
  // of the coordinator.
  void Stop();

  // Blocks until every shard's stream is gone after the run's end, but at most `patience` after it.
  void WaitUntilDrained(absl::Duration patience);

 private:
  // Things to be done without the lock.
  using Actions = Outbox::Actions;
  // One event's actions while they are planned.
  struct Plan {
    Actions actions;
    bool persists = false;
  };

  template <typename Event>
  void StepLocked(const Event& event, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanAllLocked(core::CoordinatorEffects effects, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::Persist& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::WelcomeWorker& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::RefuseWorker& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::AcknowledgeLeave& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::AnnounceGeneration& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::WelcomeShard& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::RefuseShard& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::SendSeal& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::SendInstall& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::DecideRound& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::GiveVersion& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::SendFindRestorable& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::EndRun& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanLocked(const core::Note& effect, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void JoinLocked(const std::shared_ptr<WorkStream>& stream, const v1::Join& join, Plan& plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DefineLocked(const std::shared_ptr<WorkStream>& stream, const v1::Define& define, Plan& plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HelloLocked(const std::shared_ptr<ServeStream>& stream, const v1::ShardHello& hello, Plan& plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ShardAnswerLocked(const ServeStream& stream, const v1::ShardMessage& message, Plan& plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendToShardLocked(ShardIndex shard, v1::ShardCommand command, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // An event through the core of checkpoints.
  template <typename Event>
  void StepCheckpointsLocked(const Event& event, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PlanAllLocked(const core::CheckpointEffects& effects, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginCheckpointsLocked(Round resume, Plan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckpointAnswerLocked(ShardIndex shard, const v1::CheckpointAnswer& answer, Plan& plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteManifestLocked(const core::WriteCheckpointManifest& effect, Plan& plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnManifestWritten(const storage::Manifest& manifest, const absl::Status& status);
  v1::CheckpointStatus DescribeCheckpointsLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t CheckpointRoundsLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of each connection.
  uint64_t CreditBytesLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t BlockElementsLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What is to be performed without the lock, now.
  Outbox::Actions ReleaseLocked(Plan plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SaveUntilDone(const SavedRun& run);

  RunSettings settings_;  // does not change after construction
  bool EndedLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return core_.state() == core::RunState::kDone || core_.state() == core::RunState::kFailed;
  }

  const std::unique_ptr<CoordinatorStore> store_;
  const absl::Time started_;
  mutable Mutex mutex_;
  core::CoordinatorCore core_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<Incarnation, std::shared_ptr<WorkStream>> workers_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<ServeStream>> shards_ ABSL_GUARDED_BY(mutex_);  // by index; null: no stream
  std::vector<ReportedShard> reports_ ABSL_GUARDED_BY(mutex_);
  RoundHistory rounds_ ABSL_GUARDED_BY(mutex_);
  std::optional<SlowSave> save_ ABSL_GUARDED_BY(mutex_);  // under way
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  core::CheckpointCore checkpoints_ ABSL_GUARDED_BY(mutex_);
  Generation begun_ ABSL_GUARDED_BY(mutex_);   // the newest that was announced
  std::unique_ptr<ManifestWriter> manifests_;  // null: no disk. Its thread comes back here
  Outbox outbox_;                              // last: its thread uses all of the above
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_COORDINATOR_DRIVER_H_
