// What people are told about the run: a pure function of the coordinator's state and the shards' reports.
//
// Thread-safety: pure; the caller holds the lock of what it passes in.
#ifndef LOCKSTEP_SERVER_SERVICE_RUN_STATUS_H_
#define LOCKSTEP_SERVER_SERVICE_RUN_STATUS_H_

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/control.pb.h"
#include "proto/coordinator.pb.h"
#include "server/core/coordinator.h"

namespace lockstep::service {

// The newest report of one shard.
struct ReportedShard {
  v1::ShardReport report;
  absl::Time at = absl::InfinitePast();             // when it came; never: InfinitePast
  std::optional<absl::Time> closed = std::nullopt;  // when the stream was lost; none while there is one
};

// The coordinator's own state is being saved, and what it has decided waits for that.
struct SlowSave {
  absl::Time since;
  std::string trouble;  // why the disk takes nothing, if it says so
};

// Recent rounds, one record per version: that of the shard on which it took longest.
class RoundHistory {
 public:
  void Add(const v1::RoundRecord& record);
  // Null if it is not known (any more). Valid until the next Add.
  const v1::RoundRecord* Find(uint64_t version) const;
  // Oldest first.
  const std::deque<v1::RoundRecord>& records() const { return records_; }

 private:
  std::deque<v1::RoundRecord> records_;  // ascending by version
};

// How long a shard or worker may be silent before it is called so: two fifths of the lease.
absl::Duration SilentAfter(absl::Duration lease);

// Everything but `model`, `block_elements`, `optimizer`, `coordinator` and `uptime_seconds`.
v1::Status DescribeRun(const core::CoordinatorCore& core, const std::vector<ReportedShard>& shards,
                       const RoundHistory& rounds, uint32_t most_rounds, absl::Time now,
                       const std::optional<SlowSave>& save = std::nullopt);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_RUN_STATUS_H_
