// Waits with a timeout.
#include "common/mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "common/clock.h"

namespace lockstep {
namespace {

TEST(MutexTest, ConditionThatHolds_IsSeenAtOnce) {
  Mutex mutex;
  const bool holds = true;
  MutexLock lock(&mutex);
  EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&holds), absl::ZeroDuration()));
  EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&holds), absl::InfiniteDuration()));
}

TEST(MutexTest, ConditionThatNeverHolds_EndsNoEarlierThanTheTimeout) {
  Mutex mutex;
  const bool holds = false;
  MutexLock lock(&mutex);
  EXPECT_FALSE(mutex.AwaitWithTimeout(absl::Condition(&holds), -absl::Seconds(1)));
  const absl::Time start = MonotonicNow();
  EXPECT_FALSE(mutex.AwaitWithTimeout(absl::Condition(&holds), absl::Milliseconds(30)));
  EXPECT_GE(MonotonicNow() - start, absl::Milliseconds(30));
}

TEST(MutexTest, ConditionThatComes_EndsTheWait) {
  for (const absl::Duration timeout : {absl::Hours(1), absl::InfiniteDuration()}) {
    Mutex mutex;
    bool holds = false;
    std::thread other([&] {
      absl::SleepFor(absl::Milliseconds(5));
      MutexLock lock(&mutex);
      holds = true;
    });
    {
      MutexLock lock(&mutex);
      EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&holds), timeout));
    }
    other.join();
  }
}

// Timeouts that end while the lock is held, fought for, given up, or about to be destroyed.
TEST(MutexTest, ManyWaits_AllEnd) {
  constexpr int kThreads = 8;
  constexpr int kWaits = 400;
  struct Shared {
    Mutex mutex;
    int turns = 0;
  };
  std::atomic<int> met = 0;
  std::atomic<int> not_met = 0;
  std::vector<std::thread> threads;
  std::vector<Shared> shared(3);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand chance(static_cast<unsigned>(t) + 1);
      for (int i = 0; i < kWaits; ++i) {
        const auto timeout = absl::Microseconds(chance() % 2000);
        Shared& one = shared[chance() % shared.size()];
        MutexLock lock(&one.mutex);
        const int before = one.turns++;
        const auto turned = [&] { return one.turns > before + 1; };
        (one.mutex.AwaitWithTimeout(absl::Condition(&turned), timeout) ? met : not_met) += 1;
        auto own = std::make_unique<Mutex>();
        MutexLock own_lock(own.get());
        const bool never = false;
        own->AwaitWithTimeout(absl::Condition(&never), absl::Microseconds(chance() % 50));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(met + not_met, kThreads * kWaits);
  EXPECT_GT(met, 0);
  EXPECT_GT(not_met, 0);
}

}  // namespace
}  // namespace lockstep
