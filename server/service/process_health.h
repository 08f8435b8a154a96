// ProcessHealth: what this process knows about itself for probes. Nothing here depends on workers, or on other shards
// but for the registration.
//
// Thread-safety: all of it. Nothing blocks.
#ifndef LOCKSTEP_SERVER_SERVICE_PROCESS_HEALTH_H_
#define LOCKSTEP_SERVER_SERVICE_PROCESS_HEALTH_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "proto/control.pb.h"

namespace lockstep::service {

class ProcessHealth {
 public:
  // A stream to the coordinator is there, and the coordinator has answered on it; or it is gone.
  void SetRegistered(bool registered);
  // The run is done, and this process goes on serving what came of it.
  void SetDone();
  // This process has been asked to end.
  void SetStopping();
  // The event loop went round at `now`.
  void NoteTurn(absl::Time now);

  bool stopping() const;

  // The answer of a process that serves `run_id` (empty: it knows none yet). `coordinator`: where it looks for it.
  // live: the loop went round within the last kLoopPatience. ready: registered, and not stopping.
  v1::HealthReply Describe(const std::string& run_id, const std::string& coordinator, absl::Time now) const;

  // The loop goes round several times a second.
  static constexpr absl::Duration kLoopPatience = absl::Seconds(10);

 private:
  mutable Mutex mutex_;
  bool registered_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time turned_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // not begun: it is being started
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_PROCESS_HEALTH_H_
