// A simulated process: it can be killed, and stopped (SIGSTOP) and woken. What should happen to it while it is stopped
// waits until it wakes; what should happen to a dead one never does.
#ifndef LOCKSTEP_TESTS_SIM_PROCESS_H_
#define LOCKSTEP_TESTS_SIM_PROCESS_H_

#include <deque>
#include <functional>

#include "absl/time/time.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

class Process {
 public:
  explicit Process(World& world) : world_(world) {}
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  bool alive() const { return alive_; }
  bool stopped() const { return stopped_; }
  // Since when it has done nothing, because it is dead or stopped; InfiniteFuture: it runs.
  absl::Time silent_since() const { return silent_since_; }

  void Kill();
  void Stop();
  void Wake();

  // Does it now, when this process wakes, or never.
  void Run(std::function<void()> what);
  // Runs it that much later.
  void After(absl::Duration delay, std::function<void()> what);

 protected:
  World& world() { return world_; }

 private:
  World& world_;
  bool alive_ = true;
  bool stopped_ = false;
  absl::Time silent_since_ = absl::InfiniteFuture();
  std::deque<std::function<void()>> backlog_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_PROCESS_H_
