#include "tests/sim/exploration/core_state.h"

#include <algorithm>
#include <vector>

#include "tests/sim/exploration/bytes.h"

namespace lockstep::core {

using exploration::Bytes;

void StateReader::Append(const ShardCore& core, std::string& bytes) {
  const auto& [self, journal, installed, sealed, serving, seal_unanswered, computing, journaling, journaling_since,
               installing, last, next, newest, before, tentative, decided, undecided, workers, groups, contributors,
               whole, slots, received, closed, completed_at, first_arrival, last_round, duplicates, stale, late] = core;
  Bytes out(bytes);
  out.Add(self, journal, installed, sealed, serving, seal_unanswered, computing, journaling, next, tentative, decided,
          undecided);
  // What is left over from earlier is not part of the state.
  out.Add(journaling ? installing : Generation(0), journaling ? last : Slot(0));
  out.Add(newest.completed_in, newest.participants);
  if (tentative) out.Add(before.completed_in, before.participants);
  out.Add(workers.size());
  for (const ShardCore::Worker& worker : workers) {
    const auto& [member, contributes, excluded, begun, weight, blocks, arrived, attached, given, waiting] = worker;
    out.Add(member, contributes, excluded, begun, begun ? weight : 0, blocks, arrived, attached);
    if (decided) out.Add(given, waiting);
  }
  out.Add(groups.size());
  for (const ShardCore::Group& group : groups) {
    const auto& [size] = group;
    out.Add(size);
  }
  out.Add(contributors, whole, received, closed, slots.size());
  for (const ShardCore::SlotState& slot : slots) {
    const auto& [phase, contributions, groups_summed] = slot;
    out.Add(phase, contributions, groups_summed);
  }
}

void StateReader::Append(const ShardMemory& memory, std::string& bytes) {
  const auto& [begun, checkpoint, installed, next, newest, before, tentative] = memory;
  Bytes out(bytes);
  out.Add(begun, checkpoint, installed, next, newest.completed_in, newest.participants, tentative);
  if (tentative) out.Add(before.completed_in, before.participants);
}

void StateReader::Append(const CoordinatorCore& core, std::string& bytes) {
  const auto& [options, state, state_since, failure, generation, resume, seats, shards, model, change, decider,
               ask_again, announced, rollback, abandoned, fenced, changed, excluded, failure_code, shards_end,
               departed] = core;
  Bytes out(bytes);
  out.Add(rollback.has_value());
  if (rollback)
    out.Add(rollback->generation, rollback->from, rollback->to, rollback->reason, rollback->times, rollback->done);
  for (const Abandoned& history : abandoned) out.Add(history.before, history.after);
  out.Add(excluded.size(), static_cast<int>(failure_code), shards_end);
  for (const Exclusion& exclusion : excluded) out.Add(exclusion.round, exclusion.rank);
  out.Add(state, failure, generation, resume, model.has_value(), ask_again, announced, changed);
  for (const Seat& seat : seats) {
    const auto& [holds, incarnation, name, defined, since, heard, replacements, expected, vacant_since] = seat;
    out.Add(holds, incarnation, name, defined, since, heard, replacements, expected, vacant_since);
  }
  for (const ShardSeat& seat : shards) {
    const auto& [present, incarnation, address] = seat;
    out.Add(present, incarnation, address);
  }
  out.Add(change.members, change.shards, change.installed, change.sealed.size());
  for (const auto& answer : change.sealed) {
    out.Add(answer.has_value());
    if (!answer) continue;
    const auto& [next, completed_in, completed_in_before, committed, blank, damage] = *answer;
    out.Add(next, completed_in, completed_in_before, committed, blank, damage);
  }
  out.Add(change.restoring, change.lost, change.restorable.size());
  for (const auto& answer : change.restorable) {
    out.Add(answer.has_value());
    if (!answer) continue;
    out.Add(answer->versions.size());
    for (const RestorableVersion& restorable : answer->versions) out.Add(restorable.version);
  }
  std::vector<Incarnation> sorted(fenced.begin(), fenced.end());
  std::sort(sorted.begin(), sorted.end());
  out.Add(sorted);
}

}  // namespace lockstep::core

namespace lockstep::client {

void StateReader::Append(const SessionCore& core, std::string& bytes) {
  const auto& [options, generation, members, resume, next, defined, rolled_back, target, pending, greet_again, shards] =
      core;
  exploration::Bytes out(bytes);
  out.Add(options.me, generation, members, resume, next, defined, rolled_back, target, pending, greet_again);
  for (const SessionCore::Shard& shard : shards) {
    const auto& [connected, received, stored, complete, completed_in, participants] = shard;
    out.Add(connected, received, stored, complete);
    if (complete) out.Add(completed_in, participants);
  }
}

}  // namespace lockstep::client
