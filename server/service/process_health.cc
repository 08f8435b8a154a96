#include "server/service/process_health.h"

#include "absl/strings/str_cat.h"

namespace lockstep::service {

void ProcessHealth::SetRegistered(bool registered) {
  MutexLock lock(&mutex_);
  registered_ = registered;
}

void ProcessHealth::SetDone() {
  MutexLock lock(&mutex_);
  done_ = true;
}

void ProcessHealth::SetStopping() {
  MutexLock lock(&mutex_);
  stopping_ = true;
}

void ProcessHealth::NoteTurn(absl::Time now) {
  MutexLock lock(&mutex_);
  turned_ = now;
}

bool ProcessHealth::stopping() const {
  MutexLock lock(&mutex_);
  return stopping_;
}

v1::HealthReply ProcessHealth::Describe(const std::string& run_id, const std::string& coordinator,
                                        absl::Time now) const {
  MutexLock lock(&mutex_);
  const absl::Duration still = now - turned_;
  v1::HealthReply health;
  health.set_started(true);  // whoever answers has recovered what it had, and listens
  health.set_live(still <= kLoopPatience);
  health.set_ready(registered_ && !stopping_);
  if (!health.live()) {
    health.set_message(absl::StrCat("the event loop has stood still for ",
                                    absl::FormatDuration(absl::Trunc(still, absl::Milliseconds(100)))));
  } else if (stopping_) {
    health.set_message("is stopping");
  } else if (!registered_) {
    health.set_message(absl::StrCat("has not reached the coordinator ", coordinator, " yet"));
  } else {
    health.set_message(absl::StrCat("serves run ", run_id, done_ ? ", which is done" : ""));
  }
  return health;
}

}  // namespace lockstep::service
