// The thread of a simulated process that writes files beside what it serves: checkpoints, bases, manifests.
//
// Tasks are done one after the other; each is a row of stages, and each stage takes its time. A stage may write
// something that is there whole or not at all (temporary file, fsync, rename): when the process dies in the middle, it
// is either, but the process does not live to hear of it. What a stage has written is safe from a power loss.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_BACKGROUND_H_
#define LOCKSTEP_TESTS_SIM_BACKGROUND_H_

#include <deque>
#include <functional>
#include <vector>

#include "absl/time/time.h"
#include "tests/sim/process.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

class Background {
 public:
  struct Stage {
    std::function<void()> write = [] {};      // what is on the disk from then on
    std::function<void()> then = [] {};       // what the process does when it is
    Occurrence crashed = Occurrence::kCount;  // what to count when it dies in this stage; kCount: nothing
    bool slow = false;                        // takes seconds
  };
  using Task = std::vector<Stage>;

  // `crash`: ends the process as if killed; called at a bad moment when the plan wants it so.
  Background(World& world, Process& process, std::function<void()> crash)
      : world_(world), process_(process), crash_(std::move(crash)) {}

  void Add(Task task);
  bool busy() const { return running_; }
  // What is under way is done soon, however slow it is.
  void Hurry();
  // The process is dead.
  void Crash();

 private:
  void StartNext();
  void FinishAfter(absl::Duration time);

  World& world_;
  Process& process_;
  const std::function<void()> crash_;
  std::deque<Stage> stages_;  // of all tasks
  bool running_ = false;      // the first of them
  uint64_t started_ = 0;      // stages
  bool dead_ = false;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_BACKGROUND_H_
