// Outbox: runs actions in the order in which they were added, off the lock that decided on them.
//
// Most run at once, on the thread that brought them. A batch that has to wait for the disk runs on the outbox's own
// thread, and so does everything that is added before that is done: so a disk that stands still holds up what depends
// on it, but no thread that brings heartbeats or answers status.
//
//   under the owner's lock:  now = outbox.Add(actions, waits_for_disk);
//   without it:              Outbox::Perform(now);
//
// Thread-safety: Add: the owner's lock makes the order. The rest: all of it.
#ifndef LOCKSTEP_SERVER_SERVICE_OUTBOX_H_
#define LOCKSTEP_SERVER_SERVICE_OUTBOX_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace lockstep::service {

class Outbox {
 public:
  using Action = std::function<void()>;
  using Actions = std::vector<Action>;

  Outbox();
  // What is queued and has not begun is dropped; waits for the action that is under way.
  ~Outbox();

  // Takes the actions over, or gives them back to be performed at once.
  Actions Add(Actions actions, bool waits_for_disk);
  static void Perform(const Actions& actions);

  // An action that may not succeed at once asks this between two tries, and gives up when it is true.
  bool WaitOrStop(absl::Duration time);

 private:
  void Run();

  Mutex mutex_;
  std::deque<Action> queue_ ABSL_GUARDED_BY(mutex_);
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;  // the thread performs an action
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_OUTBOX_H_
