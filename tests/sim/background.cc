#include "tests/sim/background.h"

#include <algorithm>
#include <utility>

namespace lockstep::sim {

void Background::Add(Task task) {
  for (Stage& stage : task) stages_.push_back(std::move(stage));
  if (!running_) StartNext();
}

void Background::StartNext() {
  if (running_ || dead_ || stages_.empty()) return;
  running_ = true;
  const FaultPlan& faults = world_.plan().faults;
  const bool early = world_.now() < world_.plan().faults_end;
  absl::Duration time = world_.random().Skewed(absl::Microseconds(10), world_.plan().checkpoints.write);
  const bool stalls = early && world_.random().Chance(std::max(faults.slow_disk, faults.slow_checkpoint));
  if (stalls || stages_.front().slow) {
    time = world_.random().Between(absl::Milliseconds(stages_.front().slow ? 1500 : 300), absl::Seconds(6));
  }
  if (early && world_.random().Chance(faults.crash_in_checkpoint)) {
    world_.At(world_.now() + world_.random().Between(absl::ZeroDuration(), 2 * time), [this] {
      if (!dead_) crash_();
    });
  }
  ++started_;
  FinishAfter(time);
}

void Background::Hurry() {
  if (running_) FinishAfter(world_.random().Skewed(absl::ZeroDuration(), 2 * world_.plan().checkpoints.write));
}

void Background::FinishAfter(absl::Duration time) {
  process_.After(time, [this, stage_number = started_] {
    if (dead_ || !running_ || stage_number != started_) return;
    Stage stage = std::move(stages_.front());
    stages_.pop_front();
    running_ = false;
    stage.write();
    stage.then();
    StartNext();
  });
}

void Background::Crash() {
  dead_ = true;
  if (!running_) return;
  Stage& stage = stages_.front();
  if (stage.crashed != Occurrence::kCount) world_.Count(stage.crashed);
  if (world_.random().Chance(500)) stage.write();
}

}  // namespace lockstep::sim
