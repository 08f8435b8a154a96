// JournalThread: the one thread that writes a shard's journal, in the order in which it is told to.
//
//   Begin / Adopt ──> WriteBlock ... WriteBlock, CommitRound ──> RoundJournaled
//                 ──> AppendInstall                          ──> InstallJournaled
//
// Telling it never blocks: a disk that stands still holds up rounds, but neither heartbeats nor status. When the disk
// refuses (full, failing), it says why in `state()` and tries again until it succeeds: blocks of the round in progress
// are held for that, since a disk that failed may have lost any of them.
//
// Thread-safety: all of it. The events come on its own thread, without any lock.
#ifndef LOCKSTEP_SERVER_SERVICE_JOURNAL_THREAD_H_
#define LOCKSTEP_SERVER_SERVICE_JOURNAL_THREAD_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/ids.h"
#include "common/mutex.h"
#include "server/storage/buffer_pool.h"
#include "server/storage/file_system.h"
#include "server/storage/journal.h"

namespace lockstep::service {

class JournalThread {
 public:
  // What has become durable.
  class Events {
   public:
    virtual ~Events() = default;
    virtual void OnRoundJournaled(Generation generation, Version version) = 0;
    virtual void OnInstallJournaled(Generation generation) = 0;
  };

  // For status.
  struct State {
    absl::Status trouble;  // not OK: why the disk takes nothing, since `trouble_since`
    absl::Time trouble_since = absl::InfiniteFuture();
    absl::Time busy_since = absl::InfiniteFuture();  // of the call to the disk that is under way
    absl::Duration round = absl::ZeroDuration();     // from CommitRound to OnRoundJournaled, of the newest round
    uint64_t live_bytes = 0;
    uint64_t allocated_bytes = 0;
  };

  // `files` and `events` must outlive this. Nothing is written before Begin or Adopt.
  JournalThread(storage::FileSystem* files, std::string folder, storage::JournalOptions options, Events* events);
  ~JournalThread() { Stop(); }

  // Gives up what is not written yet; waits for the call to the disk that is under way. Again: does nothing.
  void Stop();

  // A new journal, begun on the disk before anything else is written to it.
  void Begin(storage::JournalIdentity identity);
  // The journal that this life of the shard has recovered.
  void Adopt(std::unique_ptr<storage::Journal> journal);

  // `values` must not change any more.
  void WriteBlock(Slot slot, storage::BufferRef values);
  void CommitRound(storage::RoundRecord round);
  void AppendInstall(storage::InstallRecord install);
  // Rounds up to `version` are not needed any more.
  void Forget(Version version);

  State state() const;

 private:
  struct BeginTask {
    storage::JournalIdentity identity;
  };
  struct BlockTask {
    Slot slot;
    storage::BufferRef values;
  };
  struct CommitTask {
    storage::RoundRecord round;
    absl::Time asked;
  };
  struct InstallTask {
    storage::InstallRecord install;
  };
  struct ForgetTask {
    Version version;
  };
  using Task = std::variant<BeginTask, BlockTask, CommitTask, InstallTask, ForgetTask>;

  void Add(Task task);
  void Run();
  // The next task; false when this ends.
  bool Wait(Task& task);
  // Until it has succeeded; false when this ends.
  bool DoUntilDone(const Task& task);
  absl::Status Do(const BeginTask& task);
  absl::Status Do(const BlockTask& task);
  absl::Status Do(const CommitTask& task);
  absl::Status Do(const InstallTask& task);
  absl::Status Do(const ForgetTask& task);
  absl::Status WriteHeldBlocks();
  void NoteStart();
  void NoteEnd(const absl::Status& status);

  storage::FileSystem* const files_;
  const std::string folder_;
  const storage::JournalOptions options_;
  Events* const events_;

  mutable Mutex mutex_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  State state_ ABSL_GUARDED_BY(mutex_);

  // Only of the thread, and of Adopt before the first task.
  std::unique_ptr<storage::Journal> journal_;
  std::map<Slot, storage::BufferRef> held_;  // blocks of the round in progress, until it is committed
  bool write_again_ = false;                 // the disk may have lost some of them
  std::thread thread_;                       // last: it uses all of the above
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_JOURNAL_THREAD_H_
