// Membership: this process's place in the run, and the stream to the coordinator that keeps it: when to connect, what
// to say first, when to beat, and which refusals are final.
//
//   no stream -> MakeStream: Join, then Define and Leave if they are due -> OnWelcome -> Beat ... -> OnClosed -+
//       ^------------------------------------- 200 ms later, as long as nothing is final --------------------+
//
// Invariants:
//   1. The first message of every stream is Join; the second is Define once the model is known.
//   2. The run's id and the rank come from the coordinator. After the first Welcome only that run is joined again.
//   3. Only the stream that was made last counts: the end of an older one changes nothing here.
//
// Owns: the newest stream (with others that use it outside the lock), the Welcome, the times of the next attempt and of
// the next heartbeat. What is announced over the stream is not its business: Worker::Impl hands that to DataStreams.
//
// Thread-safety: none; everything is called under the driver's lock (Worker::Impl::mutex_). Nothing here blocks or
// sends: streams that it returns are opened, and used, after the lock is let go. The time is given.
#ifndef LOCKSTEP_WORKER_CLIENT_MEMBERSHIP_H_
#define LOCKSTEP_WORKER_CLIENT_MEMBERSHIP_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/ids.h"
#include "common/model.h"
#include "proto/coordinator.pb.h"
#include "worker/client/streams.h"
#include "worker/client/worker.h"

namespace lockstep::client {

class Membership {
 public:
  // `options` outlives it.
  Membership(const JoinOptions& options, Incarnation incarnation) : options_(options), incarnation_(incarnation) {}

  // ---- Questions ----
  bool welcomed() const { return welcomed_; }
  bool leaving() const { return leaving_; }
  bool left() const { return left_; }
  Rank rank() const { return Rank(welcome_.rank()); }
  const v1::Welcome& welcome() const { return welcome_; }
  // Set by the first Welcome and never again: the reference may be used without the lock from then on.
  const std::string& run_id() const { return run_id_; }
  // Null while there is none.
  const std::shared_ptr<MembershipStream>& stream() const { return stream_; }
  // How long the timekeeper may sleep without missing a heartbeat.
  absl::Duration LongestSleep() const;
  // Why Join has got no place in time: RESOURCE_EXHAUSTED when all ranks are taken, else UNAVAILABLE with what was
  // tried.
  absl::Status NoPlaceError() const;

  // ---- What time brings ----
  // There is no stream, and it is time for the next attempt.
  bool WantsStream(absl::Time now) const { return stream_ == nullptr && now >= retry_at_ && !left_; }
  // Makes the next stream, with all that the coordinator must hear first queued on it. Open it without the lock.
  std::shared_ptr<MembershipStream> MakeStream(MembershipStream::Owner* owner, const std::optional<ModelSpec>& model);
  // The stream to send a heartbeat on, if one is due; else null.
  std::shared_ptr<MembershipStream> Beat(absl::Time now);

  // ---- What the caller wants ----
  // Says Leave on every stream that is made from now on; the caller says it on stream().
  void StartLeaving() { leaving_ = true; }

  // ---- What comes from the coordinator ----
  void OnWelcome(const v1::Welcome& welcome, absl::Time now);
  void OnLeft() { left_ = true; }
  // A stream has ended. The error that ends the worker, or OK: then there will be another attempt if there should be
  // one.
  absl::Status OnClosed(const MembershipStream& stream, const absl::Status& status, absl::Time now);

 private:
  absl::Duration HeartbeatEvery() const;

  const JoinOptions& options_;
  const Incarnation incarnation_;
  std::shared_ptr<MembershipStream> stream_;
  uint64_t attempts_ = 0;
  absl::Time retry_at_ = absl::InfinitePast();
  absl::Time next_heartbeat_ = absl::InfiniteFuture();
  absl::Time quiet_until_ = absl::InfinitePast();  // of complaints
  absl::Status last_error_;                        // of the newest attempt that failed
  bool welcomed_ = false;
  bool leaving_ = false;
  bool left_ = false;
  v1::Welcome welcome_;
  std::string run_id_;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_MEMBERSHIP_H_
