#include "server/service/outbox.h"

#include <utility>

namespace lockstep::service {

Outbox::Outbox() : thread_([this] { Run(); }) {}

Outbox::~Outbox() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

Outbox::Actions Outbox::Add(Actions actions, bool waits_for_disk) {
  MutexLock lock(&mutex_);
  if (!waits_for_disk && queue_.empty() && !busy_) return actions;
  for (Action& action : actions) queue_.push_back(std::move(action));
  return {};
}

void Outbox::Perform(const Actions& actions) {
  for (const Action& action : actions) action();
}

bool Outbox::WaitOrStop(absl::Duration time) {
  MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&stopping_), time);
}

void Outbox::Run() {
  while (true) {
    Action action;
    {
      MutexLock lock(&mutex_);
      busy_ = false;
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) return;
      action = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
    }
    action();
  }
}

}  // namespace lockstep::service
