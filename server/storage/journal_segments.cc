#include "server/storage/journal_segments.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::storage {
namespace {

uint64_t SegmentBytes(const RecordLayout& layout, const JournalOptions& options) {
  const uint64_t round = layout.record_bytes(RoundContents::kGradient, kExpectedParticipants);
  return std::max(WholePages(options.segment_bytes), kFirstRecordOffset + 2 * round);
}

}  // namespace

void NoteRecord(std::vector<Segment>& segments, const RecordHead& head) {
  Segment& last = segments.back();
  if (head.kind == RecordKind::kRound) {
    last.needed_below = std::max(last.needed_below, head.version + 1);
    return;
  }
  last.newest_install = InstallOf(head);
  // What was restored from a checkpoint needs no rounds; else those from `resume` on are undone.
  const uint64_t below = head.restored != 0 ? 0 : head.version;
  for (Segment& segment : segments) segment.needed_below = std::min(segment.needed_below, below);
}

JournalSegments::JournalSegments(FileSystem& files, std::string folder, JournalIdentity identity,
                                 JournalOptions options)
    : files_(files),
      folder_(std::move(folder)),
      identity_(std::move(identity)),
      options_(std::move(options)),
      layout_(identity_.elements),
      segment_bytes_(SegmentBytes(layout_, options_)) {}

void JournalSegments::Hit(absl::string_view fail_point) const {
  if (options_.fail_point) options_.fail_point(fail_point);
}

absl::Status JournalSegments::Adopt(std::optional<InstallRecord> forgotten, std::vector<Segment> segments,
                                    const std::vector<uint64_t>& found) {
  forgotten_ = forgotten;
  segments_ = std::move(segments);
  for (const uint64_t number : found) {
    const bool listed = std::any_of(segments_.begin(), segments_.end(),
                                    [&](const Segment& segment) { return segment.entry.number == number; });
    if (!listed) spares_.push_back(number);
    const absl::StatusOr<std::unique_ptr<File>> file = files_.Open(absl::StrCat(folder_, "/", SegmentName(number)));
    if (!file.ok()) return file.status();
    const absl::StatusOr<uint64_t> size = (*file)->Size();
    if (!size.ok()) return size.status();
    file_bytes_[number] = *size;
  }
  if (segments_.empty()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<File>> file =
      files_.OpenOrCreate(absl::StrCat(folder_, "/", SegmentName(current().entry.number)));
  if (!file.ok()) return file.status();
  file_ = *std::move(file);
  return absl::OkStatus();
}

absl::StatusOr<bool> JournalSegments::MakeRoom(uint64_t sequence, uint64_t bytes) {
  if (!switch_.has_value() && !segments_.empty() && current().end + bytes <= file_bytes_[current().entry.number])
    return false;
  absl::Status begun = BeginSegment(sequence, bytes);
  if (!begun.ok()) return begun;
  return true;
}

absl::Status JournalSegments::Extend(uint64_t bytes) {
  uint64_t& size = file_bytes_[current().entry.number];
  if (current().end + bytes <= size) return absl::OkStatus();
  absl::Status allocated = file_->Allocate(current().end + bytes);
  if (allocated.ok()) size = current().end + bytes;
  return allocated;
}

absl::Status JournalSegments::BeginSegment(uint64_t sequence, uint64_t bytes) {
  const bool may_be_listed = switch_.has_value();
  const SegmentEntry entry = may_be_listed ? *switch_ : SegmentEntry{TakeFile(), options_.nonce(), sequence};
  absl::StatusOr<std::unique_ptr<File>> file = Prepare(entry, bytes);
  if (!file.ok()) {
    if (!may_be_listed) spares_.push_back(entry.number);
    return file.status();
  }
  switch_ = entry;
  JournalIndex index = Index();
  index.segments.push_back(entry);
  absl::Status listed = ReplaceIndex(index);
  if (!listed.ok()) return listed;
  segments_.push_back({.entry = entry});
  file_ = *std::move(file);
  switch_.reset();
  return absl::OkStatus();
}

uint64_t JournalSegments::TakeFile() {
  if (spares_.empty()) {
    const uint64_t number = file_bytes_.empty() ? 1 : file_bytes_.rbegin()->first + 1;
    file_bytes_[number] = 0;
    return number;
  }
  // One whose space is taken already, even if the disk is full.
  const auto largest = std::max_element(spares_.begin(), spares_.end(), [&](uint64_t one, uint64_t other) {
    return file_bytes_[one] < file_bytes_[other];
  });
  const uint64_t number = *largest;
  spares_.erase(largest);
  return number;
}

absl::StatusOr<std::unique_ptr<File>> JournalSegments::Prepare(const SegmentEntry& entry, uint64_t bytes) {
  absl::StatusOr<std::unique_ptr<File>> file =
      files_.OpenOrCreate(absl::StrCat(folder_, "/", SegmentName(entry.number)));
  if (!file.ok()) return file;
  const uint64_t size = std::max(segment_bytes_, kFirstRecordOffset + bytes);
  Hit("journal.segment.before-allocate");
  absl::Status status = (*file)->Allocate(size);
  if (!status.ok()) return status;
  file_bytes_[entry.number] = std::max(file_bytes_[entry.number], size);
  Hit("journal.segment.after-allocate");
  SegmentHeader header{.number = entry.number, .nonce = entry.nonce};
  header.checksum = SealOf(header, entry.nonce, 0);
  Hit("journal.segment.before-header");
  status = (*file)->Write(0, BytesOf(header));
  if (status.ok() && options_.sync) status = (*file)->Sync();
  // The name of a new file must not come after the index that has it.
  if (status.ok() && options_.sync) status = files_.SyncFolder(folder_);
  if (!status.ok()) return status;
  Hit("journal.segment.after-header");
  return file;
}

void JournalSegments::NoteRound(const RoundRecord& round, uint64_t bytes) {
  NoteRecord(segments_, HeadOf(round));
  segments_.back().end += bytes;
}

void JournalSegments::NoteInstall(const InstallRecord& install, uint64_t bytes) {
  NoteRecord(segments_, HeadOf(install));
  segments_.back().end += bytes;
}

absl::Status JournalSegments::Forget(Version version) {
  size_t count = 0;
  while (count + 1 < segments_.size() && segments_[count].needed_below <= version.value() + 1) ++count;
  if (count == 0) return absl::OkStatus();
  JournalIndex index = Index();
  index.segments.erase(index.segments.begin(), index.segments.begin() + static_cast<ptrdiff_t>(count));
  for (size_t i = 0; i < count; ++i) {
    if (segments_[i].newest_install.has_value()) index.forgotten = segments_[i].newest_install;
  }
  absl::Status replaced = ReplaceIndex(index);
  if (!replaced.ok()) return replaced;
  forgotten_ = index.forgotten;
  for (size_t i = 0; i < count; ++i) spares_.push_back(segments_[i].entry.number);
  segments_.erase(segments_.begin(), segments_.begin() + static_cast<ptrdiff_t>(count));
  return absl::OkStatus();
}

absl::Status JournalSegments::StoreIndex() { return ReplaceIndex(Index()); }

JournalIndex JournalSegments::Index() const {
  JournalIndex index{.identity = identity_, .forgotten = forgotten_, .segments = {}};
  for (const Segment& segment : segments_) index.segments.push_back(segment.entry);
  return index;
}

absl::Status JournalSegments::ReplaceIndex(const JournalIndex& index) {
  const std::string bytes = EncodeJournalIndex(index);
  Hit("journal.index.before-replace");
  absl::Status replaced = ReplaceFile(files_, JournalIndexPath(folder_), AsBytes(bytes), options_.sync);
  if (replaced.ok()) Hit("journal.index.after-replace");
  return replaced;
}

uint64_t JournalSegments::live_bytes() const {
  uint64_t bytes = 0;
  for (const Segment& segment : segments_) bytes += segment.end - kFirstRecordOffset;
  return bytes;
}

uint64_t JournalSegments::allocated_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [number, size] : file_bytes_) bytes += size;
  return bytes;
}

}  // namespace lockstep::storage
