#include "worker/client/pull_group.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lockstep::client {

PullGroup::PullGroup(const PullPlan& plan, const std::vector<std::string>& addresses)
    : plan_(plan), sends_(addresses.size()), silent_(addresses.size()) {
  for (uint32_t s = 0; s < addresses.size(); ++s) {
    const auto begins = [this, s] {
      MutexLock lock(&mutex_);
      sends_[s] = true;
      --silent_;
    };
    pulls_.push_back(std::make_unique<ShardPull>(plan, ShardIndex(s), addresses[s], begins));
  }
}

absl::Status PullGroup::Run(absl::Duration patience) {
  std::vector<std::thread> threads;
  for (auto& pull : pulls_) threads.emplace_back([this, &pull] { RunOne(*pull); });
  WaitUntilAllSend(patience);
  for (std::thread& thread : threads) thread.join();
  MutexLock lock(&mutex_);
  return status_.ok() ? CheckSameGeneration() : status_;
}

void PullGroup::RunOne(ShardPull& pull) {
  if (absl::Status status = pull.Run(); !status.ok()) Fail(std::move(status));
}

void PullGroup::Fail(absl::Status status) {
  {
    MutexLock lock(&mutex_);
    if (!status_.ok()) return;
    status_ = std::move(status);
  }
  for (auto& pull : pulls_) pull->Cancel();
}

void PullGroup::WaitUntilAllSend(absl::Duration patience) {
  std::string silent;
  {
    MutexLock lock(&mutex_);
    const auto decided = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return silent_ == 0 || !status_.ok(); };
    if (mutex_.AwaitWithTimeout(absl::Condition(&decided), patience)) return;
    silent = SilentLocked();
  }
  Fail(absl::DeadlineExceededError(absl::StrCat("version ", plan_.version, " has not come from ", silent, " within ",
                                                absl::FormatDuration(absl::Ceil(patience, absl::Milliseconds(10))))));
}

std::string PullGroup::SilentLocked() const {
  std::vector<size_t> silent;
  for (size_t s = 0; s < sends_.size(); ++s) {
    if (!sends_[s]) silent.push_back(s);
  }
  return absl::StrCat(silent.size() == 1 ? "shard " : "shards ", absl::StrJoin(silent, ", "));
}

absl::Status PullGroup::CheckSameGeneration() const {
  for (const auto& pull : pulls_) {
    if (pull->completed_in() == pulls_.front()->completed_in()) continue;
    return absl::UnavailableError(absl::StrCat("shards completed version ", plan_.version,
                                               " in different generations: it is going to be undone"));
  }
  return absl::OkStatus();
}

uint64_t PullGroup::newest() const {
  uint64_t newest = 0;
  for (const auto& pull : pulls_) newest = std::max(newest, pull->newest().value_or(0));
  return newest;
}

}  // namespace lockstep::client
