// ServerStream: the server's end of a bidirectional stream, with a queue of messages to write.
//
// Derive from it and say what happens with a message; everything else (one write at a time, one Finish, life time) is
// here.
//
//   Open -> OnMessage* -> OnClosed, exactly once, when nothing of the stream runs any more
//
// Life time: Open makes the stream keep itself alive until OnClosed has returned.
// Thread-safety: Send and Close may be called from any thread, also from OnMessage. OnMessage calls are sequential.
// Nothing here blocks.
#ifndef LOCKSTEP_COMMON_WIRE_SERVER_STREAM_H_
#define LOCKSTEP_COMMON_WIRE_SERVER_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace lockstep::wire {

template <typename In, typename Out>
class ServerStream : public grpc::ServerBidiReactor<In, Out>,
                     public std::enable_shared_from_this<ServerStream<In, Out>> {
 public:
  // Starts reading. Call once, on an object held by a shared_ptr; returns the reactor for gRPC.
  grpc::ServerBidiReactor<In, Out>* Open() {
    self_ = this->shared_from_this();
    this->StartRead(&incoming_);
    return this;
  }

  // Writes `message` after those sent before. Dropped when the stream is closing. `number`: for the caller's use;
  // returns the lesser of this one's and that of the message that is being written.
  uint64_t Send(Out message, uint64_t number = UINT64_MAX) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    if (closing_) return number;
    queue_.push_back({std::move(message), number});
    if (queue_.size() == 1) this->StartWrite(&queue_.front().message);
    return std::min(queue_.front().number, number);
  }

  // Ends the stream with `status` after what was sent before (`flush`), or after the write that is under way. What the
  // peer says from now on is read and dropped: no OnMessage begins any more.
  void Close(grpc::Status status, bool flush = false) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    if (closing_) return;
    closing_ = std::move(status);
    if (!flush && queue_.size() > 1) queue_.erase(queue_.begin() + 1, queue_.end());
    FinishWhenIdleLocked();
  }

 protected:
  virtual void OnMessage(In& message) = 0;
  virtual void OnClosed() = 0;

 private:
  struct Queued {
    Out message;
    uint64_t number;
  };

  // noexcept: gRPC would swallow an exception, and the stream would stand still without a word.
  void OnReadDone(bool ok) noexcept final {
    if (!ok) return Close(grpc::Status::OK);  // the peer has finished, or is gone
    if (!closing()) OnMessage(incoming_);
    MutexLock lock(&mutex_);
    if (finished_) return;
    // Reading goes on while closing, so that a peer that still writes does not stall before it sees the status.
    this->StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) noexcept final {
    MutexLock lock(&mutex_);
    if (!ok) {
      queue_.erase(queue_.begin() + 1, queue_.end());
      if (!closing_) closing_ = grpc::Status::OK;
    }
    queue_.pop_front();
    if (!queue_.empty()) {
      this->StartWrite(&queue_.front().message);
    } else {
      FinishWhenIdleLocked();
    }
  }

  void OnDone() noexcept final {
    TsanAcquireFromGrpc();
    OnClosed();
    TsanReleaseToGrpc();
    self_.reset();
  }

  bool closing() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return closing_.has_value();
  }

  void FinishWhenIdleLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!closing_ || finished_ || !queue_.empty()) return;
    finished_ = true;
    this->Finish(*closing_);
  }

  Mutex mutex_;
  std::deque<Queued> queue_ ABSL_GUARDED_BY(mutex_);  // the first one is being written
  std::optional<grpc::Status> closing_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  In incoming_;
  std::shared_ptr<ServerStream> self_;
};

}  // namespace lockstep::wire

#endif  // LOCKSTEP_COMMON_WIRE_SERVER_STREAM_H_
