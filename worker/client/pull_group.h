// One attempt to read one version from all shards at once.
#ifndef LOCKSTEP_WORKER_CLIENT_PULL_GROUP_H_
#define LOCKSTEP_WORKER_CLIENT_PULL_GROUP_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "worker/client/shard_pull.h"

namespace lockstep::client {

// Use it for one Run. Thread-safety: none.
class PullGroup {
 public:
  // `addresses` by shard index; `plan` outlives the group.
  PullGroup(const PullPlan& plan, const std::vector<std::string>& addresses);

  // Blocks until every shard has sent everything, or one has failed: the others are then ended. DEADLINE_EXCEEDED when
  // a shard has not begun to send within `patience`: the version may never come. UNAVAILABLE when shards completed the
  // version in different generations, so that it is going to be undone. Otherwise the first error of ShardPull::Run.
  absl::Status Run(absl::Duration patience);

  // After Run: the newest version that a shard told of; 0 if none did.
  uint64_t newest() const;

 private:
  void RunOne(ShardPull& pull) ABSL_LOCKS_EXCLUDED(mutex_);
  void Fail(absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);
  void WaitUntilAllSend(absl::Duration patience) ABSL_LOCKS_EXCLUDED(mutex_);
  std::string SilentLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckSameGeneration() const;

  const PullPlan& plan_;
  std::vector<std::unique_ptr<ShardPull>> pulls_;
  Mutex mutex_;
  std::vector<bool> sends_ ABSL_GUARDED_BY(mutex_);  // by shard: has begun to send
  size_t silent_ ABSL_GUARDED_BY(mutex_);            // shards that have not
  absl::Status status_ ABSL_GUARDED_BY(mutex_);      // the first error
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_PULL_GROUP_H_
