// Mutex: absl::Mutex, made visible to ThreadSanitizer.
//
// Debian's Abseil is not instrumented, so that TSan does not see what its mutexes order and would call everything that
// they guard a race. In other builds these are absl's own classes.
//
// Thread-safety: as absl::Mutex.
#ifndef LOCKSTEP_COMMON_MUTEX_H_
#define LOCKSTEP_COMMON_MUTEX_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>

#include "absl/time/clock.h"
#endif

namespace lockstep {

#ifdef __SANITIZE_THREAD__

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() { __tsan_mutex_create(this, 0); }
  ~Mutex() { __tsan_mutex_destroy(this, 0); }

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    __tsan_mutex_pre_lock(this, 0);
    mutex_.Lock();
    __tsan_mutex_post_lock(this, 0, 0);
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    __tsan_mutex_pre_unlock(this, 0);
    mutex_.Unlock();
    __tsan_mutex_post_unlock(this, 0);
  }
  void Await(const absl::Condition& condition) { AwaitWithTimeout(condition, absl::InfiniteDuration()); }
  bool AwaitWithTimeout(const absl::Condition& condition, absl::Duration timeout) {
    return AwaitWithDeadline(condition, absl::Now() + timeout);
  }
  bool AwaitWithDeadline(const absl::Condition& condition, absl::Time deadline) {
    __tsan_mutex_pre_unlock(this, 0);
    __tsan_mutex_post_unlock(this, 0);
    __tsan_mutex_pre_lock(this, 0);
    const bool met = mutex_.AwaitWithDeadline(condition, deadline);
    __tsan_mutex_post_lock(this, 0, 0);
    return met;
  }

 private:
  absl::Mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) { mutex_->Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

// The same for gRPC: what a thread did before it entered gRPC is seen by whoever gRPC calls back afterwards.
inline char tsan_grpc = 0;
inline void TsanReleaseToGrpc() { __tsan_release(&tsan_grpc); }
inline void TsanAcquireFromGrpc() { __tsan_acquire(&tsan_grpc); }

#else

using Mutex = absl::Mutex;
using MutexLock = absl::MutexLock;
inline void TsanReleaseToGrpc() {}
inline void TsanAcquireFromGrpc() {}

#endif

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MUTEX_H_
