#include "server/storage/journal_recovery.h"

#include <utility>
#include <vector>

#include "server/storage/journal_index.h"
#include "server/storage/journal_scan.h"
#include "server/storage/journal_writer.h"

namespace lockstep::storage {
namespace {

class Recovery {
 public:
  Recovery(FileSystem& files, const std::string& folder, const JournalOptions& options, JournalVisitor& visitor)
      : files_(files), folder_(folder), options_(options), visitor_(visitor) {}

  absl::StatusOr<RecoveredJournal> Run() {
    absl::StatusOr<JournalIndex> index = LoadJournalIndex(files_, folder_);
    if (absl::IsNotFound(index.status())) return RecoveredJournal{};
    if (!index.ok()) return index.status();
    auto result = std::make_unique<JournalSegments>(files_, folder_, index->identity, options_);
    absl::Status status = visitor_.OnIdentity(index->identity);
    if (status.ok() && index->forgotten.has_value()) status = visitor_.OnInstall(*index->forgotten);
    for (size_t i = 0; status.ok() && i < index->segments.size(); ++i) {
      status = VisitSegment(*index, i, result->layout());
    }
    if (!status.ok()) return status;
    const absl::StatusOr<std::vector<uint64_t>> found = ListSegmentFiles(files_, folder_);
    if (!found.ok()) return found.status();
    status = result->Adopt(index->forgotten, std::move(segments_), *found);
    if (status.ok()) status = MakeDurable(*result);
    if (!status.ok()) return status;
    return RecoveredJournal{std::move(result), next_sequence_};
  }

 private:
  absl::Status VisitSegment(const JournalIndex& index, size_t i, const RecordLayout& layout) {
    const bool is_last = i + 1 == index.segments.size();
    const SegmentEntry& entry = index.segments[i];
    if (!segments_.empty() && entry.first_sequence != next_sequence_) {
      return DamagedFile(JournalIndexPath(folder_), 0, "the segments do not follow one another");
    }
    next_sequence_ = entry.first_sequence;
    // The next segment was begun when all records of this one were committed.
    const uint64_t committed = (is_last ? entry : index.segments[i + 1]).first_sequence - 1;
    absl::StatusOr<SegmentScan> scan = SegmentScan::Open(files_, folder_, entry, layout, committed);
    if (!scan.ok()) return scan.status();
    segments_.push_back({.entry = entry});
    while (is_last || next_sequence_ <= committed) {
      const absl::StatusOr<std::optional<SegmentScan::Record>> record =
          scan->ReadRecord(segments_.back().end, next_sequence_);
      if (!record.ok()) return record.status();
      if (!record->has_value()) break;
      absl::Status visited = Visit(*scan, **record);
      if (!visited.ok()) return visited;
      NoteRecord(segments_, (*record)->head);
      segments_.back().end += layout.record_bytes((*record)->head.contents, (*record)->head.participants);
      ++next_sequence_;
    }
    last_is_marked_ = next_sequence_ <= scan->committed_up_to() + 1;
    return options_.sync ? scan->file().Sync() : absl::OkStatus();
  }

  absl::Status Visit(const SegmentScan& scan, const SegmentScan::Record& record) {
    const RecordHead& head = record.head;
    if (head.kind == RecordKind::kInstall) return visitor_.OnInstall(InstallOf(head));
    return visitor_.OnRound(
        {Generation(head.generation), Version(head.version), head.contents, record.details.participants},
        [&](Slot slot, absl::Span<float> into) { return scan.ReadBlock(record, slot, into); });
  }

  // What was visited is acted upon: from now on it is committed.
  absl::Status MakeDurable(JournalSegments& segments) {
    if (options_.sync) {
      absl::Status stored = segments.StoreIndex();
      if (!stored.ok()) return stored;
    }
    if (last_is_marked_) return absl::OkStatus();
    return WriteCommitMark(segments.file(), segments.current().entry, next_sequence_ - 1);
  }

  FileSystem& files_;
  const std::string& folder_;
  const JournalOptions& options_;
  JournalVisitor& visitor_;
  std::vector<Segment> segments_;
  uint64_t next_sequence_ = 1;
  bool last_is_marked_ = true;
};

}  // namespace

absl::StatusOr<RecoveredJournal> RecoverJournal(FileSystem& files, const std::string& folder,
                                                const JournalOptions& options, JournalVisitor& visitor) {
  return Recovery(files, folder, options, visitor).Run();
}

}  // namespace lockstep::storage
