// Fail points: named places between the steps of durable work, where a test ends the process.
//
// Thread-safety: as whoever calls them.
#ifndef LOCKSTEP_SERVER_STORAGE_FAIL_POINT_H_
#define LOCKSTEP_SERVER_STORAGE_FAIL_POINT_H_

#include <functional>

#include "absl/strings/string_view.h"

namespace lockstep::storage {

// Told the name of the place; null: none.
using FailPoint = std::function<void(absl::string_view)>;

// Of the journal, in the order in which they come.
inline constexpr absl::string_view kJournalFailPoints[] = {
    "journal.block.before-write",    "journal.block.after-write",       "journal.record.before-details",
    "journal.record.after-details",  "journal.record.before-head",      "journal.record.after-head",
    "journal.record.before-sync",    "journal.record.after-sync",       "journal.record.before-mark",
    "journal.record.after-mark",     "journal.segment.before-allocate", "journal.segment.after-allocate",
    "journal.segment.before-header", "journal.segment.after-header",    "journal.index.before-replace",
    "journal.index.after-replace",
};

// Of the coordinator's file, of a shard's checkpoints, and of a long journal that it compacts.
inline constexpr absl::string_view kOtherFailPoints[] = {
    "coordinator.before-save", "coordinator.after-save", "checkpoint.before-write", "checkpoint.after-write",
    "checkpoint.after-base",   "manifest.before-write",  "manifest.after-write",    "compaction.before-write",
    "compaction.after-write",  "compaction.after-base",
};

// Tells it, if there is one.
inline void Pass(const FailPoint& fail_point, absl::string_view name) {
  if (fail_point) fail_point(name);
}

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_FAIL_POINT_H_
