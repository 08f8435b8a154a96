// Where a run goes on when its generation changes, once every shard is sealed:
//
//   DecideResume: from what the shards have. The first round that some shard has not completed; one before it, if the
//                 shards completed the newest version in different generations (design.md, section 4, rule c); or what
//                 the run begins with. Or nowhere, since a shard has lost what workers may hold.
//   DecideRollback: then from the checkpoints that they can restore: the newest common one of this run's history.
//
// Thread-safety: functions, without I/O, clocks or randomness.
#ifndef LOCKSTEP_SERVER_CORE_RESUME_H_
#define LOCKSTEP_SERVER_CORE_RESUME_H_

#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "server/core/sealed_shard.h"

namespace lockstep::core {

// What the coordinator knows by itself.
struct ResumeKnowledge {
  std::optional<Version> begins_with = {};  // what the run begins with, unless that is what the lowest rank brings
  // Where the newest generation resumed that workers have learnt. Absent: none yet, so that nobody holds a version.
  std::optional<Round> announced = {};
  Round told = {};  // where the newest generation resumed that shards may have been told of
};

struct ResumePoint {
  Round resume;
  bool at_beginning = false;  // all shards take version resume - 1 from what the run begins with
  std::string lost = {};      // not empty: the run cannot go on from what the shards have, and why
};

// `shards`: one at least, by index.
ResumePoint DecideResume(const std::vector<SealedShard>& shards, const ResumeKnowledge& known);

// ---- Rolling back ----

// A version that a shard can restore from its disk.
struct RestorableVersion {
  Version version;
  Generation completed_in;
  friend auto operator<=>(const RestorableVersion&, const RestorableVersion&) = default;
};

// A history that was given up: versions beyond `after` that were completed in a generation before `before`.
struct Abandoned {
  Generation before;
  Version after;
  friend bool operator==(const Abandoned&, const Abandoned&) = default;
};

// The newest version that is in every list and not of a history that was given up; absent: there is none. `lists`: by
// shard, in any order.
std::optional<RestorableVersion> DecideRollback(const std::vector<std::vector<RestorableVersion>>& lists,
                                                const std::vector<Abandoned>& abandoned);

}  // namespace lockstep::core

#endif  // LOCKSTEP_SERVER_CORE_RESUME_H_
