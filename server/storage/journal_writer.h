// JournalWriter: writes records, so that a crash at any moment leaves them whole, torn and recognisable, or not there.
//
//   WriteBlock ...      clears the place of the head, if a failed attempt may have left one there; then blocks
//   CommitRound         details, head, [sync], mark: the record counts
//
// Thread-safety: none. Everything blocks on the disk.
#ifndef LOCKSTEP_SERVER_STORAGE_JOURNAL_WRITER_H_
#define LOCKSTEP_SERVER_STORAGE_JOURNAL_WRITER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/ids.h"
#include "server/storage/journal_segments.h"

namespace lockstep::storage {

class JournalWriter {
 public:
  // Writes to the end of the last of `segments`, or the first one to come. `head_in_doubt`: there may be a head
  // already.
  JournalWriter(JournalSegments& segments, uint64_t next_sequence, bool head_in_doubt, bool sync);

  // As Journal's.
  absl::Status WriteBlock(Slot slot, absl::Span<const float> elements, const uint64_t* checksum);
  absl::Status CommitRound(const RoundRecord& round);
  absl::Status AppendInstall(const InstallRecord& install);

 private:
  absl::Status BeginRecord(uint64_t bytes);
  absl::Status WriteRecord(RecordHead head, const RecordDetails& details);
  absl::Status WriteHead(const RecordHead& head);
  absl::Status CheckEveryBlockIsWritten(const RoundRecord& round) const;
  void VoidBlocks();

  JournalSegments& segments_;
  const bool sync_;
  uint64_t next_sequence_;
  bool begun_ = false;         // there is room for the record, and no head
  bool head_in_doubt_;         // the place of the next head may have one
  std::vector<bool> written_;  // by slot
  std::vector<uint64_t> checksums_;
};

// Says on disk that the records up to `sequence` are committed. Losing it costs only what it can detect.
absl::Status WriteCommitMark(File& file, const SegmentEntry& segment, uint64_t sequence);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_JOURNAL_WRITER_H_
