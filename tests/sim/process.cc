#include "tests/sim/process.h"

#include <algorithm>
#include <utility>

namespace lockstep::sim {

void Process::Kill() {
  alive_ = false;
  backlog_.clear();
  silent_since_ = std::min(silent_since_, world_.now());
}

void Process::Stop() {
  stopped_ = true;
  silent_since_ = std::min(silent_since_, world_.now());
}

void Process::Wake() {
  if (!stopped_ || !alive_) return;
  stopped_ = false;
  silent_since_ = absl::InfiniteFuture();
  running_since_ = world_.now();
  while (!backlog_.empty() && !stopped_) {
    auto what = std::move(backlog_.front());
    backlog_.pop_front();
    what();
  }
}

void Process::Run(std::function<void()> what) {
  if (!alive_) return;
  if (stopped_) {
    backlog_.push_back(std::move(what));
  } else {
    what();
  }
}

void Process::After(absl::Duration delay, std::function<void()> what) {
  world_.At(world_.now() + Lasts(delay), [this, what = std::move(what)]() mutable { Run(std::move(what)); });
}

}  // namespace lockstep::sim
