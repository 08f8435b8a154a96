#include "common/mutex.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

namespace lockstep {
namespace {

using SteadyClock = std::chrono::steady_clock;

}  // namespace

// All timeouts of the process, on a thread that begins with the first one and never ends. It never blocks on a Mutex,
// so that it may be told of alarms by whoever holds one.
class AlarmClock {
 public:
  struct Alarm {
    Mutex* mutex;
    SteadyClock::time_point at;
    std::atomic<bool> has_rung = false;
  };

  static AlarmClock& Get() {
    static AlarmClock* const clock = new AlarmClock;
    return *clock;
  }

  // Rings at its time, and again and again until it is cancelled: a condition may have been looked at just before.
  void Set(Alarm& alarm) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto [at, _] = alarms_.emplace(alarm.at, &alarm);
    if (at == alarms_.begin()) changed_.notify_one();
  }
  // It is not touched any more when this returns.
  void Cancel(Alarm& alarm) {
    const std::lock_guard<std::mutex> lock(mutex_);
    alarms_.erase({alarm.at, &alarm});
  }

 private:
  AlarmClock() {
    std::thread([this] { Run(); }).detach();
  }

  void Run() {
    constexpr std::chrono::milliseconds kAgain{1};
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      if (alarms_.empty()) {
        changed_.wait(lock);
        continue;
      }
      const auto [at, alarm] = *alarms_.begin();
      const auto now = SteadyClock::now();
      if (now < at) {
        changed_.wait_until(lock, at);
        continue;
      }
      alarms_.erase(alarms_.begin());
      alarm->at = now + kAgain;
      alarms_.emplace(alarm->at, alarm);
      alarm->has_rung = true;
      alarm->mutex->LookAgain();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::pair<SteadyClock::time_point, Alarm*>> alarms_;
};

bool Mutex::AwaitWithTimeout(const absl::Condition& condition, absl::Duration timeout) {
  constexpr absl::Duration kForever = absl::Hours(24 * 365);  // of which the clock still has some
  if (condition.Eval()) return true;
  if (timeout <= absl::ZeroDuration()) return false;
  if (timeout > kForever) {
    Await(condition);
    return true;
  }
  AlarmClock::Alarm alarm{.mutex = this, .at = SteadyClock::now() + absl::ToChronoNanoseconds(timeout)};
  AlarmClock::Get().Set(alarm);
  const auto over = [&] { return alarm.has_rung || condition.Eval(); };
  Await(absl::Condition(&over));
  AlarmClock::Get().Cancel(alarm);
  return condition.Eval();
}

}  // namespace lockstep
