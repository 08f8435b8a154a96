#include "server/storage/journal_scan.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lockstep::storage {

absl::StatusOr<SegmentScan> SegmentScan::Open(FileSystem& files, const std::string& folder, const SegmentEntry& entry,
                                              const RecordLayout& layout, uint64_t committed_up_to) {
  const std::string path = absl::StrCat(folder, "/", SegmentName(entry.number));
  absl::StatusOr<std::unique_ptr<File>> file = files.Open(path);
  if (absl::IsNotFound(file.status()))
    return DamagedFile(path, 0, "the journal's index lists this file; it is missing");
  if (!file.ok()) return file.status();
  SegmentScan scan(*std::move(file), entry, layout, committed_up_to);
  absl::Status prefix = scan.ReadPrefix();
  if (!prefix.ok()) return prefix;
  return scan;
}

absl::Status SegmentScan::ReadPrefix() {
  SegmentHeader header;
  absl::Status read = Read(0, MutableBytesOf(header));
  if (!read.ok()) return read;
  if (!IsSealed(header, entry_.nonce, 0) || header.number != entry_.number || header.nonce != entry_.nonce) {
    return DamagedFile(file_->path(), 0, "its header is not that of the segment that the journal's index lists here");
  }
  for (const uint64_t parity : {0, 1}) {
    CommitMark mark;
    read = Read(MarkOffset(parity), MutableBytesOf(mark));
    if (!read.ok()) return read;
    if (!IsSealed(mark, entry_.nonce, MarkOffset(parity))) continue;  // not written yet, or the other one tells
    committed_up_to_ = std::max(committed_up_to_, mark.sequence);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<SegmentScan::Record>> SegmentScan::ReadRecord(uint64_t offset, uint64_t sequence) const {
  const absl::StatusOr<std::optional<RecordHead>> head = ReadHead(offset, sequence);
  if (!head.ok()) return head.status();
  if (!head->has_value()) return std::nullopt;
  absl::StatusOr<Record> record = ReadDetails(**head, offset);
  absl::Status whole = record.status();
  if (sequence <= committed_up_to_) {  // blocks are checked when they are asked for
    if (!whole.ok()) return whole;
    return *std::move(record);
  }
  if (whole.ok()) whole = CheckBlocks(*record);
  if (whole.ok()) return *std::move(record);
  if (absl::IsDataLoss(whole) && (*head)->synced != 0) return std::nullopt;
  return whole;
}

absl::StatusOr<std::optional<RecordHead>> SegmentScan::ReadHead(uint64_t offset, uint64_t sequence) const {
  RecordHead head;
  absl::Status read = file_->Read(offset, MutableBytesOf(head));
  if (!read.ok() && !absl::IsOutOfRange(read)) return read;
  if (read.ok() && IsSealed(head, entry_.nonce, offset) && head.sequence == sequence) return head;
  if (sequence > committed_up_to_) return std::nullopt;
  return DamagedFile(
      file_->path(), offset,
      absl::StrCat("record ", sequence, " should begin here; ", committed_up_to_, " is the last that was committed"));
}

absl::StatusOr<SegmentScan::Record> SegmentScan::ReadDetails(const RecordHead& head, uint64_t offset) const {
  const uint64_t at = offset + layout_->details_offset(head.contents);
  std::string bytes(layout_->details_bytes(head.contents, head.participants), '\0');
  absl::Status read = Read(at, {reinterpret_cast<std::byte*>(bytes.data()), bytes.size()});
  if (!read.ok()) return read;
  if (JournalChecksum(AsBytes(bytes), entry_.nonce + head.sequence) != head.details_checksum) {
    return Damaged(at, head, "block checksums and participants do not match their own checksum");
  }
  return Record{head, RecordDetails::Decode(bytes, layout_->blocks(head.contents)), offset};
}

absl::Status SegmentScan::CheckBlocks(const Record& record) const {
  std::vector<float> elements;
  for (size_t i = 0; i < record.details.block_checksums.size(); ++i) {
    const Slot slot(static_cast<uint32_t>(i));
    elements.resize(layout_->elements(slot));
    absl::Status read = ReadBlock(record, slot, absl::MakeSpan(elements));
    if (!read.ok()) return read;
  }
  return absl::OkStatus();
}

absl::Status SegmentScan::ReadBlock(const Record& record, Slot slot, absl::Span<float> into) const {
  if (slot.value() >= record.details.block_checksums.size() || into.size() != layout_->elements(slot)) {
    return absl::InvalidArgumentError(absl::StrCat(file_->path(), ": record ", record.head.sequence,
                                                   " has no block of ", into.size(), " elements for slot ",
                                                   slot.value()));
  }
  const uint64_t at = record.offset + layout_->block_offset(slot);
  const MutableBytes bytes(reinterpret_cast<std::byte*>(into.data()), into.size() * sizeof(float));
  absl::Status read = Read(at, bytes);
  if (!read.ok()) return read;
  if (JournalChecksum(bytes) == record.details.block_checksums[slot.value()]) return absl::OkStatus();
  return Damaged(at, record.head, absl::StrCat("the block of slot ", slot.value(), " does not match its checksum"));
}

absl::Status SegmentScan::Damaged(uint64_t offset, const RecordHead& head, absl::string_view what) const {
  return DamagedFile(file_->path(), offset,
                     absl::StrCat("record ", head.sequence, ", version ", head.version, " of generation ",
                                  head.generation, ": ", what));
}

absl::Status SegmentScan::Read(uint64_t offset, MutableBytes into) const {
  absl::Status read = file_->Read(offset, into);
  if (!absl::IsOutOfRange(read)) return read;
  return DamagedFile(file_->path(), offset, absl::StrCat("the file ends before ", into.size(), " bytes from here on"));
}

}  // namespace lockstep::storage
