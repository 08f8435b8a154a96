// SegmentScan: reads one segment of a journal and tells what is whole, what is torn, and what is damage.
//
// Thread-safety: none. Everything blocks on the disk.
#ifndef LOCKSTEP_SERVER_STORAGE_JOURNAL_SCAN_H_
#define LOCKSTEP_SERVER_STORAGE_JOURNAL_SCAN_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/ids.h"
#include "server/storage/file_system.h"
#include "server/storage/journal_format.h"
#include "server/storage/journal_index.h"

namespace lockstep::storage {

class SegmentScan {
 public:
  struct Record {
    RecordHead head;
    RecordDetails details;
    uint64_t offset = 0;
  };

  // `committed_up_to`: sequence number of the last record that is known to be committed; the segment's own marks may
  // know of a later one. DATA_LOSS: the segment is missing, or is not the one that the index lists.
  static absl::StatusOr<SegmentScan> Open(FileSystem& files, const std::string& folder, const SegmentEntry& entry,
                                          const RecordLayout& layout, uint64_t committed_up_to);

  // The record at `offset`; none if there is none or it is torn. DATA_LOSS: neither.
  absl::StatusOr<std::optional<Record>> ReadRecord(uint64_t offset, uint64_t sequence) const;
  // DATA_LOSS: the block does not match its checksum.
  absl::Status ReadBlock(const Record& record, Slot slot, absl::Span<float> into) const;

  uint64_t committed_up_to() const { return committed_up_to_; }
  File& file() const { return *file_; }

 private:
  SegmentScan(std::unique_ptr<File> file, SegmentEntry entry, const RecordLayout& layout, uint64_t committed_up_to)
      : file_(std::move(file)), entry_(entry), layout_(&layout), committed_up_to_(committed_up_to) {}

  absl::Status ReadPrefix();
  absl::StatusOr<std::optional<RecordHead>> ReadHead(uint64_t offset, uint64_t sequence) const;
  absl::StatusOr<Record> ReadDetails(const RecordHead& head, uint64_t offset) const;
  absl::Status CheckBlocks(const Record& record) const;
  absl::Status Damaged(uint64_t offset, const RecordHead& head, absl::string_view what) const;
  // Reads; an end of the file that comes too early is damage.
  absl::Status Read(uint64_t offset, MutableBytes into) const;

  std::unique_ptr<File> file_;
  SegmentEntry entry_;
  const RecordLayout* layout_;
  uint64_t committed_up_to_;
};

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_JOURNAL_SCAN_H_
