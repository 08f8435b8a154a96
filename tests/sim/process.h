// A simulated process: it can be killed, and stopped (SIGSTOP) and woken. What should happen to it while it is stopped
// waits until it wakes; what should happen to a dead one never does.
#ifndef LOCKSTEP_TESTS_SIM_PROCESS_H_
#define LOCKSTEP_TESTS_SIM_PROCESS_H_

#include <cstdint>
#include <deque>
#include <functional>

#include "absl/time/time.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

class Process {
 public:
  // `place`: where it runs; processes of one place share a network and a fate.
  Process(World& world, uint64_t place)
      : world_(world), place_(place), clock_(world.ClockOf(place)), running_since_(world.now()) {}
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  bool alive() const { return alive_; }
  bool stopped() const { return stopped_; }
  bool running() const { return alive_ && !stopped_; }
  uint64_t place() const { return place_; }
  // What its machine's steady clock shows: the only time that the process knows.
  absl::Time clock() const { return clock_.At(world_.now()); }
  // The same of another moment of the simulation; what is infinite stays so.
  absl::Time ClockAt(absl::Time when) const { return when == absl::InfiniteFuture() ? when : clock_.At(when); }
  // How long it takes until its clock shows so much more.
  absl::Duration Lasts(absl::Duration shown) const { return clock_.Lasts(shown); }
  // Since when it has done nothing, because it is dead or stopped; InfiniteFuture: it runs.
  absl::Time silent_since() const { return silent_since_; }

  // Since when it runs, if it does: its start, or when it was woken last.
  absl::Time running_since() const { return running_since_; }

  void Kill();
  void Stop();
  void Wake();

  // Does it now, when this process wakes, or never.
  void Run(std::function<void()> what);
  // Runs it that much later, by its clock.
  void After(absl::Duration delay, std::function<void()> what);

 protected:
  World& world() { return world_; }

 private:
  World& world_;
  const uint64_t place_;
  const SteadyClock clock_;
  absl::Time running_since_;
  bool alive_ = true;
  bool stopped_ = false;
  absl::Time silent_since_ = absl::InfiniteFuture();
  std::deque<std::function<void()>> backlog_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_PROCESS_H_
