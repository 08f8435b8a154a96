// JournalSegments: which files hold the journal's records, and which of them can be used again.
//
//   spare file or new one ──allocate, header, [sync]──> listed in the index ──> current ──> full
//        ^                                                                                   │
//        └──────── no longer listed in the index  <── Forget ── nothing in it is needed <────┘
//
// Invariants
//   1. A segment that the index on disk lists has its header; it is in use, or is about to be (2).
//   2. Once the index with a new segment may be on disk, nothing is appended to the old one until the same
//      segment - number, nonce, first sequence - is known to be listed.
//   3. A file is written over only after an index that does not list it has replaced one that did.
//
// Thread-safety: none. Everything blocks on the disk.
#ifndef LOCKSTEP_SERVER_STORAGE_JOURNAL_SEGMENTS_H_
#define LOCKSTEP_SERVER_STORAGE_JOURNAL_SEGMENTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/ids.h"
#include "server/storage/file_system.h"
#include "server/storage/journal_format.h"
#include "server/storage/journal_index.h"
#include "server/storage/journal_types.h"

namespace lockstep::storage {

// What is known of a segment that is listed.
struct Segment {
  SegmentEntry entry;
  uint64_t end = kFirstRecordOffset;  // of its last record
  uint64_t needed_below = 0;          // 1 + the newest version that it has a round of that is not undone; 0: none
  std::optional<InstallRecord> newest_install = std::nullopt;
};

class JournalSegments {
 public:
  JournalSegments(FileSystem& files, std::string folder, JournalIdentity identity, JournalOptions options);

  const std::string& folder() const { return folder_; }
  const JournalIdentity& identity() const { return identity_; }
  const RecordLayout& layout() const { return layout_; }
  const JournalOptions& options() const { return options_; }
  void Hit(absl::string_view fail_point) const;

  // Takes over what recovery found: the segments in order, the last of which becomes current. `found`: all segment
  // files.
  absl::Status Adopt(std::optional<InstallRecord> forgotten, std::vector<Segment> segments,
                     const std::vector<uint64_t>& found);

  // Sees to it that a record of `bytes` with this sequence number fits into the current segment, by beginning another
  // one if need be. True: it is another one.
  absl::StatusOr<bool> MakeRoom(uint64_t sequence, uint64_t bytes);
  // The record at current().end has grown to `bytes`, more than was asked for.
  absl::Status Extend(uint64_t bytes);
  // Only after MakeRoom.
  const Segment& current() const { return segments_.back(); }
  File& file() const { return *file_; }

  // Such a record was committed at the end of the current segment.
  void NoteRound(const RoundRecord& round, uint64_t bytes);
  void NoteInstall(const InstallRecord& install, uint64_t bytes);

  absl::Status Forget(Version version);
  // Puts an index on disk that lists what is in use.
  absl::Status StoreIndex();

  uint64_t live_bytes() const;
  uint64_t allocated_bytes() const;

 private:
  absl::Status BeginSegment(uint64_t sequence, uint64_t bytes);
  uint64_t TakeFile();
  absl::StatusOr<std::unique_ptr<File>> Prepare(const SegmentEntry& entry, uint64_t bytes);
  absl::Status ReplaceIndex(const JournalIndex& index);
  JournalIndex Index() const;

  FileSystem& files_;
  const std::string folder_;
  const JournalIdentity identity_;
  const JournalOptions options_;
  const RecordLayout layout_;
  const uint64_t segment_bytes_;

  std::optional<InstallRecord> forgotten_;
  std::vector<Segment> segments_;
  std::unique_ptr<File> file_;          // of the current segment
  std::optional<SegmentEntry> switch_;  // the index on disk may list it as the next one; see invariant 2
  std::vector<uint64_t> spares_;
  std::map<uint64_t, uint64_t> file_bytes_;  // by number
};

// What a record means for what is needed of `segments`, the last of which holds it.
void NoteRecord(std::vector<Segment>& segments, const RecordHead& head);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_JOURNAL_SEGMENTS_H_
