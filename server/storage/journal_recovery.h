// Reads a journal from its index to its last whole record.
//
// Thread-safety: none. Everything blocks on the disk.
#ifndef LOCKSTEP_SERVER_STORAGE_JOURNAL_RECOVERY_H_
#define LOCKSTEP_SERVER_STORAGE_JOURNAL_RECOVERY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/storage/file_system.h"
#include "server/storage/journal.h"
#include "server/storage/journal_segments.h"

namespace lockstep::storage {

struct RecoveredJournal {
  std::unique_ptr<JournalSegments> segments;  // ready to be appended to; null: there is no journal
  uint64_t next_sequence = 1;
};

// See Journal::Recover.
absl::StatusOr<RecoveredJournal> RecoverJournal(FileSystem& files, const std::string& folder,
                                                const JournalOptions& options, JournalVisitor& visitor);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_JOURNAL_RECOVERY_H_
