// The index of a journal: what it is of, and which segments make it up.
//
// Thread-safety: functions and values.
#ifndef LOCKSTEP_SERVER_STORAGE_JOURNAL_INDEX_H_
#define LOCKSTEP_SERVER_STORAGE_JOURNAL_INDEX_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/storage/file_system.h"
#include "server/storage/journal_types.h"

namespace lockstep::storage {

struct SegmentEntry {
  uint64_t number = 0;  // of the file
  uint64_t nonce = 0;   // of this use of the file
  uint64_t first_sequence = 0;
  friend bool operator==(const SegmentEntry&, const SegmentEntry&) = default;
};

struct JournalIndex {
  JournalIdentity identity;
  std::optional<InstallRecord> forgotten;  // the newest install of forgotten segments
  std::vector<SegmentEntry> segments;      // in the order of their records
  friend bool operator==(const JournalIndex&, const JournalIndex&) = default;
};

// Magic, what JournalIndex has, XXH3-64 of it all.
std::string EncodeJournalIndex(const JournalIndex& index);
// DATA_LOSS: not what EncodeJournalIndex made.
absl::StatusOr<JournalIndex> DecodeJournalIndex(absl::string_view path, absl::string_view bytes);

std::string JournalIndexPath(absl::string_view folder);

// The index in `folder`. NOT_FOUND: there is no journal. DATA_LOSS: damaged, or missing though there are segments.
absl::StatusOr<JournalIndex> LoadJournalIndex(FileSystem& files, const std::string& folder);

// Numbers of the segments' files in `folder`, ascending, whether listed in the index or not.
absl::StatusOr<std::vector<uint64_t>> ListSegmentFiles(FileSystem& files, const std::string& folder);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_JOURNAL_INDEX_H_
