// The bytes of a segment. Numbers are little-endian; everything starts on a page, so that writing it never reads the
// disk.
//
//   0       SegmentHeader
//   4096    CommitMark, of even sequence numbers       in pages of their own, in turn: one that is torn
//   8192    CommitMark, of odd ones                    leaves the other, and the header, alone
//   12288   the first record:
//             + 0                 RecordHead
//             + 4096              blocks in slot order, each on a page; none for installs and empty rounds
//             + details_offset    XXH3-64 of each block, then participants ("details")
//           the next record, on the next page
//
// Thread-safety: functions and values.
#ifndef LOCKSTEP_SERVER_STORAGE_JOURNAL_FORMAT_H_
#define LOCKSTEP_SERVER_STORAGE_JOURNAL_FORMAT_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/ids.h"
#include "server/storage/file_system.h"
#include "server/storage/journal_types.h"

namespace lockstep::storage {

static_assert(std::endian::native == std::endian::little, "the journal's bytes are this machine's own");

inline constexpr uint64_t kJournalPage = 4096;
inline constexpr uint64_t kFirstRecordOffset = 3 * kJournalPage;

// Participants for whom there is room in a record before it is known who they are; more make the segment grow.
inline constexpr size_t kExpectedParticipants = 1024;

constexpr uint64_t WholePages(uint64_t bytes) { return (bytes + kJournalPage - 1) / kJournalPage * kJournalPage; }
constexpr uint64_t MarkOffset(uint64_t sequence) { return kJournalPage * (1 + sequence % 2); }

// Each of these ends in a checksum of what comes before it; `place` is its offset in the file.
struct SegmentHeader {
  static constexpr uint64_t kMagic = 0x3167'6553'6a74'734c;  // "LstjSeg1"
  uint64_t magic = kMagic;
  uint64_t number = 0;
  uint64_t nonce = 0;
  uint64_t checksum = 0;
};

struct CommitMark {
  static constexpr uint64_t kMagic = 0x316b'724d'6a74'734c;  // "LstjMrk1"
  uint64_t magic = kMagic;
  uint64_t sequence = 0;
  uint64_t checksum = 0;
};

enum class RecordKind : uint8_t { kRound = 1, kInstall = 2 };

struct RecordHead {
  static constexpr uint64_t kMagic = 0x3163'6552'6a74'734c;  // "LstjRec1"
  uint64_t magic = kMagic;
  uint64_t sequence = 0;
  uint64_t generation = 0;
  uint64_t version = 0;  // of an install: resume
  uint64_t details_checksum = 0;
  uint32_t participants = 0;
  RecordKind kind = RecordKind::kRound;
  RoundContents contents = RoundContents::kNothing;
  uint8_t restored = 0;
  uint8_t synced = 0;  // an fdatasync follows before the record is committed
  uint64_t checksum = 0;
};

uint64_t JournalChecksum(Bytes bytes);
uint64_t JournalChecksum(Bytes bytes, uint64_t seed);

// Sets and checks the checksum of one of the above, for its nonce and place.
template <class Sealed>
uint64_t SealOf(const Sealed& what, uint64_t nonce, uint64_t place) {
  static_assert(std::has_unique_object_representations_v<Sealed>, "padding would be in the checksum");
  const Bytes bytes(reinterpret_cast<const std::byte*>(&what), sizeof(what) - sizeof(what.checksum));
  return JournalChecksum(bytes, nonce + place);
}
template <class Sealed>
bool IsSealed(const Sealed& what, uint64_t nonce, uint64_t place) {
  return what.magic == Sealed::kMagic && what.checksum == SealOf(what, nonce, place);
}
template <class Plain>
Bytes BytesOf(const Plain& what) {
  return {reinterpret_cast<const std::byte*>(&what), sizeof(what)};
}
template <class Plain>
MutableBytes MutableBytesOf(Plain& what) {
  return {reinterpret_cast<std::byte*>(&what), sizeof(what)};
}

RecordHead HeadOf(const RoundRecord& round);
RecordHead HeadOf(const InstallRecord& install);
InstallRecord InstallOf(const RecordHead& head);

// What follows the blocks of a round.
struct RecordDetails {
  std::vector<uint64_t> block_checksums;  // empty without blocks
  std::vector<Rank> participants;

  std::string Encode() const;
  // `bytes` has room for both.
  static RecordDetails Decode(absl::string_view bytes, size_t blocks);
};

// Where things are in a record of this journal, counted from its head.
class RecordLayout {
 public:
  // `elements` of each block, by slot.
  explicit RecordLayout(std::vector<uint64_t> elements);

  size_t blocks() const { return block_offsets_.size(); }
  uint64_t elements(Slot slot) const { return elements_[slot.value()]; }
  uint64_t block_offset(Slot slot) const { return block_offsets_[slot.value()]; }
  size_t blocks(RoundContents contents) const { return contents == RoundContents::kNothing ? 0 : blocks(); }
  uint64_t details_offset(RoundContents contents) const;
  uint64_t details_bytes(RoundContents contents, size_t participants) const;
  uint64_t record_bytes(RoundContents contents, size_t participants) const;

 private:
  std::vector<uint64_t> elements_;
  std::vector<uint64_t> block_offsets_;
  uint64_t blocks_end_ = kJournalPage;
};

// "journal-000012", and back. INVALID_ARGUMENT: not the name of a segment.
std::string SegmentName(uint64_t number);
absl::StatusOr<uint64_t> SegmentNumber(absl::string_view name);

// DATA_LOSS.
absl::Status DamagedFile(absl::string_view path, uint64_t offset, absl::string_view what);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_JOURNAL_FORMAT_H_
