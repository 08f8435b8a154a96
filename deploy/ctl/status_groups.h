// Folds what is alike, so that 16 workers that are well take one line and the odd one stands out.
//
// Groups point into the Status that they were made from. Thread-safety: pure functions.
#ifndef LOCKSTEP_DEPLOY_CTL_STATUS_GROUPS_H_
#define LOCKSTEP_DEPLOY_CTL_STATUS_GROUPS_H_

#include <string>
#include <vector>

#include "proto/control.pb.h"

namespace lockstep::ctl {

// Ranks (or shards) that the run waits for, for the same reason and with the same blocks missing.
struct WaitingGroup {
  bool shards = false;                         // what `entries` are
  std::vector<const v1::WaitingFor*> entries;  // never empty
  double since_seconds = 0;                    // the longest
  std::string missing;                         // as FormatMissing says it

  // "rank 3 (worker-3)", "ranks 3-7", "shard 1 (10.0.0.2:7000)".
  std::string Who() const;
  std::vector<uint32_t> Numbers() const;
};

// Workers in the same state.
struct WorkerGroup {
  v1::WorkerStatus::State state;
  std::vector<const v1::WorkerStatus*> workers;  // never empty
};

// Shards in the same state. Their reports are not of the same moment: in a run of short rounds their versions differ
// although nothing is wrong.
struct ShardGroup {
  v1::ShardStatus::State state;
  std::vector<const v1::ShardStatus*> shards;  // never empty

  // "version 117"; "version 116 or later, last reports up to 210 ms old"; empty if no shard has one.
  std::string Versions() const;
};

// Of status.rounds(index): whether it can be said who held the round up. Not if one worker alone took part, nor if the
// generation changed since the version before: then the round waited for that.
bool BlamesTheLast(const v1::Status& status, int index);

// Whoever has been waited for longest comes first.
std::vector<WaitingGroup> GroupWaiting(const v1::Status& status);

// The largest group comes first; among equals, the lowest rank or shard.
std::vector<WorkerGroup> GroupWorkers(const v1::Status& status);
std::vector<ShardGroup> GroupShards(const v1::Status& status);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_STATUS_GROUPS_H_
