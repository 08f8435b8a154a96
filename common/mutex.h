// Mutex: absl::Mutex, whose waits go by the monotonic clock, and which ThreadSanitizer can see.
//
// absl::Mutex measures timeouts by the wall clock: when that is set back by an hour, a wait of a second takes an hour
// and a second, and heartbeats stop. Here a timeout is an alarm of the monotonic clock (mutex.cc).
//
// A condition may be looked at on any thread that lets go of the lock, the alarms' own among them, always under the
// lock: it must not block, and must not depend on who looks.
//
// Debian's Abseil is not instrumented, so that TSan does not see what its mutexes order and would call everything that
// they guard a race: the marks are for it.
//
// Thread-safety: all of it.
#ifndef LOCKSTEP_COMMON_MUTEX_H_
#define LOCKSTEP_COMMON_MUTEX_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace lockstep {

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() { MarkCreated(); }
  ~Mutex() { MarkDestroyed(); }
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    MarkBeforeLock();
    mutex_.Lock();
    MarkAfterLock();
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    MarkBeforeUnlock();
    mutex_.Unlock();
    MarkAfterUnlock();
  }
  // Lets go of the lock, blocks until `condition` holds, and has the lock again.
  void Await(const absl::Condition& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    MarkBeforeUnlock();
    MarkAfterUnlock();
    MarkBeforeLock();
    mutex_.Await(condition);
    MarkAfterLock();
  }
  // The same for at most `timeout`, and a few milliseconds; says whether `condition` holds.
  bool AwaitWithTimeout(const absl::Condition& condition, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this);

 private:
  friend class AlarmClock;
  // Whoever waits looks at their conditions again, now or when the lock is let go. Does not block.
  void LookAgain() {
    MarkBeforeTry();
    const bool locked = mutex_.TryLock();
    MarkAfterTry(locked);
    if (locked) Unlock();
  }

#ifdef __SANITIZE_THREAD__
  void MarkCreated() { __tsan_mutex_create(this, 0); }
  void MarkDestroyed() { __tsan_mutex_destroy(this, 0); }
  void MarkBeforeLock() { __tsan_mutex_pre_lock(this, 0); }
  void MarkAfterLock() { __tsan_mutex_post_lock(this, 0, 0); }
  void MarkBeforeTry() { __tsan_mutex_pre_lock(this, __tsan_mutex_try_lock); }
  void MarkAfterTry(bool locked) {
    __tsan_mutex_post_lock(this, __tsan_mutex_try_lock | (locked ? 0 : __tsan_mutex_try_lock_failed), 0);
  }
  void MarkBeforeUnlock() { __tsan_mutex_pre_unlock(this, 0); }
  void MarkAfterUnlock() { __tsan_mutex_post_unlock(this, 0); }
#else
  void MarkCreated() {}
  void MarkDestroyed() {}
  void MarkBeforeLock() {}
  void MarkAfterLock() {}
  void MarkBeforeTry() {}
  void MarkAfterTry(bool) {}
  void MarkBeforeUnlock() {}
  void MarkAfterUnlock() {}
#endif

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
#ifdef __SANITIZE_THREAD__
inline char tsan_grpc = 0;
inline void TsanReleaseToGrpc() { __tsan_release(&tsan_grpc); }
inline void TsanAcquireFromGrpc() { __tsan_acquire(&tsan_grpc); }
#else
inline void TsanReleaseToGrpc() {}
inline void TsanAcquireFromGrpc() {}
#endif

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MUTEX_H_
