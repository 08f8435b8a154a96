// CoordinatorLink: a shard's stream to the coordinator, opened again whenever it breaks, until the run ends.
//
//   Run: open -> report until the stream ends -> wait a little -> open ...      (gRPC's threads bring the commands)
//
// The lock guards which stream is the newest and how it ended; nothing is sent and no call of gRPC made under it. Lock
// order: none is taken under it, and it is taken under none.
//
// Thread-safety: Send and Stop from any thread; Run from one. Only Run blocks.
#ifndef LOCKSTEP_SERVER_SERVICE_COORDINATOR_LINK_H_
#define LOCKSTEP_SERVER_SERVICE_COORDINATOR_LINK_H_

#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "proto/coordinator.grpc.pb.h"
#include "server/service/process_health.h"
#include "server/service/shard_driver.h"

namespace lockstep::service {

// What a shard does when the run is done.
enum class AfterRun {
  kExit,   // its process ends
  kServe,  // it goes on answering questions about the run, and never gives its coordinator up
};

class CoordinatorLink {
 public:
  // `driver` and `health` (null: nobody asks) must outlive the link. A shard that has heard from a coordinator gives up
  // when it has heard nothing more for `give_up_after` and the stream is gone: it may have missed the end of the run.
  CoordinatorLink(ShardDriver* driver, ShardIndex shard, std::string coordinator, std::string advertised,
                  absl::Duration give_up_after = absl::Seconds(60), AfterRun after_run = AfterRun::kExit,
                  ProcessHealth* health = nullptr);
  ~CoordinatorLink();

  // Sends to the coordinator, or drops the message when there is no stream: the coordinator asks again.
  void Send(v1::ShardMessage message);

  // Keeps the stream up and reports several times a second, until the run is over. OK: every worker has left (with
  // AfterRun::kServe that does not end it). ABORTED: the run has failed, or there is another run now, or no coordinator
  // for too long. PERMISSION_DENIED, INVALID_ARGUMENT: this shard has no place in the run. CANCELLED: Stop was called.
  absl::Status Run();

  // Makes Run return soon.
  void Stop();

 private:
  class Stream;
  // What the newest stream has come to.
  struct End {
    bool heard = false;     // the coordinator has said something
    bool finished = false;  // the coordinator said that the run is over
    std::string failure;    // and why, if it failed
    absl::StatusCode failure_code = absl::StatusCode::kAborted;
    bool closed = false;  // the stream is gone
    absl::Status status;  // with this
  };

  std::shared_ptr<Stream> Open();
  void OnCommand(const v1::ShardCommand& command);
  void OnClosed(const absl::Status& status);
  // Reports until the stream ends; OK: open another one.
  absl::Status Serve(Stream& stream, bool& over);
  bool Heard();
  // The run is over for this process, as the newest stream has said.
  bool OverLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return end_.finished && (after_run_ == AfterRun::kExit || !end_.failure.empty());
  }
  void SetRegistered(bool registered);

  ShardDriver* const driver_;
  const ShardIndex shard_;
  const std::string coordinator_;
  const std::string advertised_;
  const absl::Duration give_up_after_;
  const AfterRun after_run_;
  ProcessHealth* const health_;
  Mutex mutex_;
  std::shared_ptr<Stream> stream_ ABSL_GUARDED_BY(mutex_);
  End end_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool told_ ABSL_GUARDED_BY(mutex_) = false;  // that the run is done
  uint64_t attempts_ = 0;                      // only of Run
  // Never, before a coordinator has spoken: any start order works.
  absl::Time lost_since_ = absl::InfiniteFuture();  // when the newest stream on which the coordinator spoke broke
  absl::Time quiet_until_ = absl::InfinitePast();   // of complaints about an unreachable coordinator
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_COORDINATOR_LINK_H_
