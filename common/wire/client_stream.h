// ClientStream: the client's end of a bidirectional stream, with a queue of messages to write. The mirror of
// ServerStream.
//
//   Start -> OnMessage* -> OnClosed(status), exactly once, when nothing of the stream runs any more
//
// Life time: Start makes the stream keep itself alive until OnClosed has returned.
// Thread-safety: Send, Finish and Cancel may be called from any thread, also from OnMessage. OnMessage calls are
// sequential. Nothing here blocks.
#ifndef LOCKSTEP_COMMON_WIRE_CLIENT_STREAM_H_
#define LOCKSTEP_COMMON_WIRE_CLIENT_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace lockstep::wire {

template <typename In, typename Out>
class ClientStream : public grpc::ClientBidiReactor<Out, In>,
                     public std::enable_shared_from_this<ClientStream<In, Out>> {
 public:
  // Messages may be made when their turn comes, so that what is costly about them (checksums) happens just before the
  // write. Nothing: there is no need for the message any more.
  using Maker = std::function<std::optional<Out>()>;

  // Starts a call that has been bound to this reactor and to context(). Call once, on an object held by a shared_ptr.
  void Start() {
    self_ = this->shared_from_this();
    this->AddHold();  // writes come from any thread
    this->StartRead(&incoming_);
    this->StartCall();
  }

  // Writes `message` after those sent before. Dropped when the stream is closing.
  void Send(Out message) {
    Enqueue([held = std::make_shared<Out>(std::move(message))] { return std::make_optional(std::move(*held)); });
    Flush();
  }

  // Puts a message behind those sent before, to be written at the next Flush at the latest. Cheap: may be called under
  // locks that fix the order of messages.
  void Enqueue(Maker maker) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    if (!closing_) queue_.push_back(std::move(maker));
  }
  void Flush() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    WriteNextLocked();
  }

  // Ends the call at once.
  void Cancel() { context_.TryCancel(); }

  grpc::ClientContext& context() { return context_; }

 protected:
  virtual void OnMessage(In& message) = 0;
  virtual void OnClosed(const grpc::Status& status) = 0;

 private:
  // noexcept: gRPC would swallow an exception, and the stream would stand still without a word.
  void OnReadDone(bool ok) noexcept final {
    if (!ok) return Release();
    OnMessage(incoming_);
    this->StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) noexcept final {
    MutexLock lock(&mutex_);
    writing_ = false;
    outgoing_ = Out();
    if (ok) WriteNextLocked();
  }

  void OnDone(const grpc::Status& status) noexcept final {
    TsanAcquireFromGrpc();
    OnClosed(status);
    self_.reset();
  }

  void WriteNextLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (!writing_ && !closing_ && !queue_.empty()) {
      std::optional<Out> message = queue_.front()();
      queue_.pop_front();
      if (!message) continue;
      outgoing_ = *std::move(message);
      writing_ = true;
      this->StartWrite(&outgoing_);
    }
  }

  // The peer has ended the call: nothing more will be written.
  void Release() ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      MutexLock lock(&mutex_);
      closing_ = true;
      queue_.clear();
    }
    this->RemoveHold();
  }

  grpc::ClientContext context_;
  Mutex mutex_;
  std::deque<Maker> queue_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  Out outgoing_;  // being written
  In incoming_;
  std::shared_ptr<ClientStream> self_;
};

}  // namespace lockstep::wire

#endif  // LOCKSTEP_COMMON_WIRE_CLIENT_STREAM_H_
