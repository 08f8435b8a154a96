// What people are told about the run: a pure function of the coordinator's state and the shards' reports.
//
// Thread-safety: pure; the caller holds the lock of what it passes in.
#ifndef LOCKSTEP_SERVER_SERVICE_RUN_STATUS_H_
#define LOCKSTEP_SERVER_SERVICE_RUN_STATUS_H_

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
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

// How a rank has held up the others, over all rounds of this coordinator's life, whoever held the rank.
struct Lateness {
  uint64_t last = 0;                                   // rounds in which it came last
  absl::Duration last_by = absl::ZeroDuration();       // how long the others waited for it in these, together
  absl::Duration last_by_most = absl::ZeroDuration();  // and at most
  uint64_t missed = 0;                                 // rounds that were closed without it
};

// Recent rounds, one record per version: that of the shard on which it took longest. And what is kept of all rounds.
class RoundHistory {
 public:
  void Add(const v1::RoundRecord& record);
  // A round was closed without this rank.
  void AddMissed(uint32_t rank) { ++settled_[rank].missed; }
  Lateness LatenessOf(uint32_t rank) const;
  // Null if it is not known (any more). Valid until the next Add.
  const v1::RoundRecord* Find(uint64_t version) const;
  // Oldest first.
  const std::deque<v1::RoundRecord>& records() const { return records_; }

 private:
  // False if nobody else took part, or if the members changed since the version before (`before` is its record, null:
  // not known): the round then waited for that.
  static bool BlamesTheLast(const v1::RoundRecord& record, const v1::RoundRecord* before);
  static void Blame(const v1::RoundRecord& record, Lateness& lateness);

  std::deque<v1::RoundRecord> records_;              // ascending by version
  std::optional<v1::RoundRecord> dropped_;           // the newest that is no longer among them
  absl::flat_hash_map<uint32_t, Lateness> settled_;  // by rank, of rounds that are no longer among them
};

// How long a shard or worker may be silent before it is called so: two fifths of the lease.
absl::Duration SilentAfter(absl::Duration lease);

// Everything but `model`, `block_elements`, `optimizer`, `coordinator` and `uptime_seconds`.
v1::Status DescribeRun(const core::CoordinatorCore& core, const std::vector<ReportedShard>& shards,
                       const RoundHistory& rounds, uint32_t most_rounds, absl::Time now,
                       const std::optional<SlowSave>& save = std::nullopt);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_RUN_STATUS_H_
