// LentMemory: the caller's arrays while a call is under way: gRPC and our own threads borrow pieces of them, and the
// call may not return before every piece is back.
//
// Thread-safety: all of it. A shared_ptr keeps it alive until the last piece is back.
#ifndef LOCKSTEP_WORKER_CLIENT_LENT_MEMORY_H_
#define LOCKSTEP_WORKER_CLIENT_LENT_MEMORY_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace lockstep::client {

class LentMemory {
 public:
  // Borrows a piece; false once the memory is closed: then it must not be touched.
  bool TryLend() {
    MutexLock lock(&mutex_);
    if (closed_) return false;
    ++lent_;
    return true;
  }
  // Gives a piece back.
  void Return() {
    MutexLock lock(&mutex_);
    --lent_;
  }

  // Nothing is lent from now on. True if nothing is lent now. Does not block.
  bool Close() {
    MutexLock lock(&mutex_);
    closed_ = true;
    return lent_ == 0;
  }
  // Blocks until every piece is back, for at most `timeout`; says whether it is.
  bool AwaitReturned(absl::Duration timeout) {
    MutexLock lock(&mutex_);
    const auto returned = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return lent_ == 0; };
    return mutex_.AwaitWithTimeout(absl::Condition(&returned), timeout);
  }

 private:
  Mutex mutex_;
  int64_t lent_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_LENT_MEMORY_H_
