#include "server/storage/journal.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/storage/journal_index.h"
#include "server/storage/journal_recovery.h"
#include "server/storage/journal_segments.h"
#include "server/storage/journal_writer.h"

namespace lockstep::storage {
namespace {

absl::Status RemoveSegments(FileSystem& files, const std::string& folder) {
  const absl::StatusOr<std::vector<uint64_t>> numbers = ListSegmentFiles(files, folder);
  if (!numbers.ok()) return numbers.status();
  for (const uint64_t number : *numbers) {
    absl::Status removed = files.Remove(absl::StrCat(folder, "/", SegmentName(number)));
    if (!removed.ok()) return removed;
  }
  return absl::OkStatus();
}

}  // namespace

Journal::Journal(std::unique_ptr<JournalSegments> segments, uint64_t next_sequence, bool head_in_doubt, bool sync)
    : segments_(std::move(segments)),
      writer_(std::make_unique<JournalWriter>(*segments_, next_sequence, head_in_doubt, sync)) {}

Journal::~Journal() = default;

absl::StatusOr<std::unique_ptr<Journal>> Journal::Create(FileSystem& files, std::string folder,
                                                         JournalIdentity identity, JournalOptions options) {
  absl::Status status = files.MakeFolder(folder);
  if (!status.ok()) return status;
  const bool sync = options.sync;
  if (sync) status = files.SyncFolder(FolderOf(folder));
  if (!status.ok()) return status;
  auto segments = std::make_unique<JournalSegments>(files, folder, std::move(identity), std::move(options));
  // The older journal ends here: its segments are not listed any more.
  status = segments->StoreIndex();
  if (status.ok()) status = RemoveSegments(files, folder);
  if (!status.ok()) return status;
  return std::unique_ptr<Journal>(new Journal(std::move(segments), 1, /*head_in_doubt=*/false, sync));
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Recover(FileSystem& files, std::string folder, JournalOptions options,
                                                          JournalVisitor& visitor) {
  absl::StatusOr<RecoveredJournal> recovered = RecoverJournal(files, folder, options, visitor);
  if (!recovered.ok()) return recovered.status();
  if (recovered->segments == nullptr) return nullptr;
  return std::unique_ptr<Journal>(
      new Journal(std::move(recovered->segments), recovered->next_sequence, /*head_in_doubt=*/true, options.sync));
}

const JournalIdentity& Journal::identity() const { return segments_->identity(); }

absl::Status Journal::WriteBlock(Slot slot, absl::Span<const float> elements, const uint64_t* checksum) {
  return writer_->WriteBlock(slot, elements, checksum);
}

absl::Status Journal::CommitRound(const RoundRecord& round) { return writer_->CommitRound(round); }

absl::Status Journal::AppendInstall(const InstallRecord& install) { return writer_->AppendInstall(install); }

absl::Status Journal::Forget(Version version) { return segments_->Forget(version); }

uint64_t Journal::live_bytes() const { return segments_->live_bytes(); }
uint64_t Journal::allocated_bytes() const { return segments_->allocated_bytes(); }

}  // namespace lockstep::storage
