#include "server/storage/journal_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::storage {

JournalWriter::JournalWriter(JournalSegments& segments, uint64_t next_sequence, bool head_in_doubt, bool sync)
    : segments_(segments),
      sync_(sync),
      next_sequence_(next_sequence),
      head_in_doubt_(head_in_doubt),
      written_(segments.layout().blocks()),
      checksums_(segments.layout().blocks()) {}

absl::Status JournalWriter::WriteBlock(Slot slot, absl::Span<const float> elements, const uint64_t* checksum) {
  const std::vector<uint64_t>& expected = segments_.identity().elements;
  if (slot.value() >= expected.size() || expected[slot.value()] != elements.size()) {
    return absl::InvalidArgumentError(absl::StrCat("a block of ", elements.size(), " elements for slot ", slot.value(),
                                                   " is not of this journal's layout"));
  }
  const RecordLayout& layout = segments_.layout();
  absl::Status status = BeginRecord(layout.record_bytes(RoundContents::kGradient, kExpectedParticipants));
  if (!status.ok()) return status;
  const Bytes bytes(reinterpret_cast<const std::byte*>(elements.data()), elements.size() * sizeof(float));
  segments_.Hit("journal.block.before-write");
  status = segments_.file().Write(segments_.current().end + layout.block_offset(slot), bytes);
  if (!status.ok()) {
    VoidBlocks();
    return status;
  }
  checksums_[slot.value()] = checksum != nullptr ? *checksum : JournalChecksum(bytes);
  written_[slot.value()] = true;
  segments_.Hit("journal.block.after-write");
  return absl::OkStatus();
}

absl::Status JournalWriter::CommitRound(const RoundRecord& round) {
  RecordDetails details{.block_checksums = {}, .participants = round.participants};
  if (round.contents != RoundContents::kNothing) {
    absl::Status complete = CheckEveryBlockIsWritten(round);
    if (!complete.ok()) return complete;
    details.block_checksums = checksums_;
  }
  absl::Status status = WriteRecord(HeadOf(round), details);
  if (status.ok())
    segments_.NoteRound(round, segments_.layout().record_bytes(round.contents, round.participants.size()));
  return status;
}

absl::Status JournalWriter::AppendInstall(const InstallRecord& install) {
  absl::Status status = WriteRecord(HeadOf(install), {});
  if (status.ok()) segments_.NoteInstall(install, segments_.layout().record_bytes(RoundContents::kNothing, 0));
  return status;
}

absl::Status JournalWriter::CheckEveryBlockIsWritten(const RoundRecord& round) const {
  const auto missing = std::find(written_.begin(), written_.end(), false);
  if (missing == written_.end()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("round ", round.version.value(), " cannot be committed: slot ", missing - written_.begin(),
                   " was not written since the last commit or error; write the round from its first block on"));
}

absl::Status JournalWriter::BeginRecord(uint64_t bytes) {
  if (begun_) return absl::OkStatus();
  const absl::StatusOr<bool> moved = segments_.MakeRoom(next_sequence_, bytes);
  if (!moved.ok()) return moved.status();
  if (*moved) head_in_doubt_ = false;  // heads of an earlier use of that file are not valid in this one
  if (head_in_doubt_) {
    absl::Status cleared = WriteHead(RecordHead{.magic = 0});
    if (!cleared.ok()) return cleared;
    head_in_doubt_ = false;
  }
  begun_ = true;
  return absl::OkStatus();
}

absl::Status JournalWriter::WriteRecord(RecordHead head, const RecordDetails& details) {
  const RecordLayout& layout = segments_.layout();
  const uint64_t bytes = layout.record_bytes(head.contents, head.participants);
  absl::Status status = BeginRecord(bytes);
  VoidBlocks();  // after an error they are written again, after success they are of another round
  if (status.ok()) status = segments_.Extend(bytes);
  if (!status.ok()) return status;
  const uint64_t at = segments_.current().end;
  const uint64_t nonce = segments_.current().entry.nonce;
  const std::string tail = details.Encode();
  segments_.Hit("journal.record.before-details");
  status = segments_.file().Write(at + layout.details_offset(head.contents), AsBytes(tail));
  if (!status.ok()) return status;
  segments_.Hit("journal.record.after-details");
  head.sequence = next_sequence_;
  head.synced = sync_;
  head.details_checksum = JournalChecksum(AsBytes(tail), nonce + next_sequence_);
  head.checksum = SealOf(head, nonce, at);
  head_in_doubt_ = true;
  status = WriteHead(head);
  if (!status.ok()) return status;
  segments_.Hit("journal.record.before-mark");
  // The record is committed, whether or not the mark can be written: saying otherwise would have it written again.
  WriteCommitMark(segments_.file(), segments_.current().entry, next_sequence_).IgnoreError();
  segments_.Hit("journal.record.after-mark");
  ++next_sequence_;
  head_in_doubt_ = false;
  return absl::OkStatus();
}

absl::Status JournalWriter::WriteHead(const RecordHead& head) {
  File& file = segments_.file();
  segments_.Hit("journal.record.before-head");
  absl::Status status = file.Write(segments_.current().end, BytesOf(head));
  if (!status.ok()) return status;
  segments_.Hit("journal.record.after-head");
  if (!sync_ || head.magic == 0) return absl::OkStatus();
  segments_.Hit("journal.record.before-sync");
  status = file.Sync();
  if (status.ok()) segments_.Hit("journal.record.after-sync");
  return status;
}

void JournalWriter::VoidBlocks() {
  begun_ = false;
  written_.assign(written_.size(), false);
}

absl::Status WriteCommitMark(File& file, const SegmentEntry& segment, uint64_t sequence) {
  CommitMark mark{.sequence = sequence};
  mark.checksum = SealOf(mark, segment.nonce, MarkOffset(sequence));
  return file.Write(MarkOffset(sequence), BytesOf(mark));
}

}  // namespace lockstep::storage
