// What a simulated process writes, and finds again when it comes back: records, one after the other, in the background.
//
//   Append -> waits for those before it -> under way -> whole [-> synced] -> safe -> the writer hears of it
//
// A kill keeps every record that is whole (the page cache outlives the process); the one that is under way is either
// whole or torn, and a torn one counts as absent. A power loss, which only a disk that syncs has to survive, keeps what
// is safe, and of the rest as many as it happens to, in order.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_DISK_H_
#define LOCKSTEP_TESTS_SIM_DISK_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "tests/sim/process.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

enum class CrashKind { kKill, kPowerLoss };

// All of a disk but the records themselves.
class DiskQueue {
 public:
  // `crash`: ends the writer as if killed; called at a bad moment when the plan wants it so.
  DiskQueue(World& world, bool syncs, std::function<void()> crash)
      : world_(world), syncs_(syncs), crash_(std::move(crash)) {}

  // Makes safe what is there. A process that comes back must do it before it speaks of what it has read.
  void Sync(Process& writer, std::function<void()> done);

  bool syncs() const { return syncs_; }
  // How many records are there, and how many would survive anything.
  size_t whole() const { return whole_; }
  size_t safe() const { return safe_; }
  // Since when something is being written that the writer has not heard of; InfiniteFuture: nothing is.
  absl::Time busy_since() const;

 protected:
  void AppendOne(Process& writer, std::function<void()> done);
  // The first `records` are not kept any more; all of them are safe.
  void ForgetFirst(size_t records);
  void CrashQueue(CrashKind kind);
  void EraseQueue();

 private:
  struct Task {
    bool appends;
    Process* writer;
    std::function<void()> done;
    absl::Time asked;
  };

  // Runs it that much later, unless the writer has crashed by then.
  void Later(absl::Duration delay, void (DiskQueue::*what)());
  void StartNext();
  void BeWhole();
  void BeSafe();
  void Acknowledge(Task task);
  void MaybeCrash(absl::Duration within);
  absl::Duration DrawTime();

  World& world_;
  const bool syncs_;
  const std::function<void()> crash_;
  uint64_t life_ = 0;  // of the writer
  std::deque<Task> tasks_;
  bool running_ = false;  // the first of them
  bool is_whole_ = false;
  std::deque<absl::Time> unheard_;  // safe, but the writer has not heard of it; when it asked
  size_t whole_ = 0;
  size_t safe_ = 0;
};

template <class Record>
class Disk : public DiskQueue {
 public:
  using DiskQueue::DiskQueue;

  // `done` is run at the writer when the record is safe.
  void Append(Process& writer, Record record, std::function<void()> done) {
    records_.push_back(std::move(record));
    AppendOne(writer, std::move(done));
  }
  // Lets go of the first records, all of which are safe.
  void DropFront(size_t records) {
    ForgetFirst(records);
    records_.erase(records_.begin(), records_.begin() + static_cast<ptrdiff_t>(records));
  }
  void Crash(CrashKind kind) {
    CrashQueue(kind);
    records_.resize(whole());
  }
  void Erase() {
    EraseQueue();
    records_.clear();
  }
  // The first whole() are there; the others are on their way.
  const std::vector<Record>& records() const { return records_; }

 private:
  std::vector<Record> records_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_DISK_H_
