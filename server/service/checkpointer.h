// Checkpointer: a shard's work on checkpoint files, on a thread of its own, while rounds go on.
//
//   Start(version, snapshots) ──> the file, then ShardBase: from then on the shard comes back from here
//                             ──> OnBaseWritten: the journal needs nothing up to this version any more
//   Keep(manifest)            ──> it lies beside the file, if the coordinator does not write to the same folder
//
// Snapshots hold on to the blocks' own memory: nothing is copied up front, and rounds write elsewhere meanwhile. One
// checkpoint is written at a time; one that is due while another is written is left out. When the disk refuses, this
// checkpoint is given up, with a message, and the journal simply goes on.
//
// While rounds go on, a round's share is written with each (writing_pace.h), so that none takes much longer; at once
// when a journal is compacted, which is for a shard that may not live long, or when something else is to be done on
// this thread, such as going back to a checkpoint.
//
// Thread-safety: all of it. The event comes on its own thread, without any lock.
#ifndef LOCKSTEP_SERVER_SERVICE_CHECKPOINTER_H_
#define LOCKSTEP_SERVER_SERVICE_CHECKPOINTER_H_

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "server/service/shard_base.h"
#include "server/service/shard_model.h"
#include "server/service/writing_pace.h"
#include "server/storage/block_store.h"
#include "server/storage/checkpoint.h"
#include "server/storage/fail_point.h"
#include "server/storage/file_system.h"

namespace lockstep::service {

class Checkpointer {
 public:
  class Events {
   public:
    virtual ~Events() = default;
    virtual void OnBaseWritten(const ShardBase& base) = 0;
    virtual void OnCheckpointFailed(Version version, const absl::Status& why) = 0;
  };

  struct Request {
    storage::CheckpointIdentity identity;
    const ShardModel* model = nullptr;           // its layout; must outlive the writing
    std::vector<storage::BlockSnapshot> blocks;  // by slot
    bool compacts = false;                       // ShardBase::compacted, of which nobody else hears
  };

  // `files` and `events` must outlive this.
  Checkpointer(storage::FileSystem* files, ShardFolders folders, Events* events,
               storage::FailPoint fail_point = nullptr);
  ~Checkpointer() { Stop(); }

  // Gives up what is being written, at its next block. Again: does nothing.
  void Stop();

  // A request would be taken now.
  bool idle() const;
  // Takes the request, unless another is under way. Does not block.
  void Start(Request request);
  // A round has been made. Does not block.
  void OnRound();
  // The checkpoint of shard `own`'s version exists: its manifest, as storage::EncodeManifest gives it. Leaves a folder
  // alone that has it already; in any other, `keep` checkpoints stay. Does not block.
  void Keep(Version version, std::string manifest, ShardIndex own, uint32_t keep);
  // Runs `task` on the thread, after all before it; dropped if this is stopped first. Does not block.
  void Run(std::function<void()> task);

 private:
  void RunTasks();
  void WriteNow(const Request& request);
  void KeepNow(Version version, const std::string& manifest, ShardIndex own, uint32_t keep);
  absl::StatusOr<ShardBase> Write(const Request& request);
  // Waits until the next `bytes` may be written; false if this is being stopped.
  bool AwaitTurn(int64_t bytes);
  void RemoveOld(const std::optional<ShardBase>& before, const ShardBase& base);

  storage::FileSystem* const files_;
  const ShardFolders folders_;
  Events* const events_;
  const storage::FailPoint fail_point_;

  mutable Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;  // a request is queued or under way
  WritingPace pace_ ABSL_GUARDED_BY(mutex_);      // of what is under way
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_CHECKPOINTER_H_
