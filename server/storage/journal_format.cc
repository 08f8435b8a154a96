#include "server/storage/journal_format.h"

#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // XXH3_* below become the widest that this CPU has
#endif

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace lockstep::storage {

static_assert(sizeof(SegmentHeader) == 32 && sizeof(CommitMark) == 24 && sizeof(RecordHead) == 56);

uint64_t JournalChecksum(Bytes bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }
uint64_t JournalChecksum(Bytes bytes, uint64_t seed) { return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed); }

RecordHead HeadOf(const RoundRecord& round) {
  RecordHead head;
  head.kind = RecordKind::kRound;
  head.generation = round.generation.value();
  head.version = round.version.value();
  head.contents = round.contents;
  head.participants = static_cast<uint32_t>(round.participants.size());
  return head;
}

RecordHead HeadOf(const InstallRecord& install) {
  RecordHead head;
  head.kind = RecordKind::kInstall;
  head.generation = install.generation.value();
  head.version = install.resume.value();
  head.restored = install.restored;
  return head;
}

InstallRecord InstallOf(const RecordHead& head) {
  return {Generation(head.generation), Round(head.version), head.restored != 0};
}

std::string RecordDetails::Encode() const {
  std::string bytes(block_checksums.size() * sizeof(uint64_t) + participants.size() * sizeof(uint32_t), '\0');
  char* out = bytes.data();
  for (const uint64_t checksum : block_checksums) out = std::copy_n(reinterpret_cast<const char*>(&checksum), 8, out);
  for (const Rank rank : participants) {
    const uint32_t value = rank.value();
    out = std::copy_n(reinterpret_cast<const char*>(&value), 4, out);
  }
  return bytes;
}

RecordDetails RecordDetails::Decode(absl::string_view bytes, size_t blocks) {
  RecordDetails details;
  details.block_checksums.resize(blocks);
  if (blocks > 0) std::memcpy(details.block_checksums.data(), bytes.data(), blocks * sizeof(uint64_t));
  for (bytes.remove_prefix(blocks * sizeof(uint64_t)); !bytes.empty(); bytes.remove_prefix(sizeof(uint32_t))) {
    uint32_t rank;
    std::memcpy(&rank, bytes.data(), sizeof(rank));
    details.participants.push_back(Rank(rank));
  }
  return details;
}

RecordLayout::RecordLayout(std::vector<uint64_t> elements) : elements_(std::move(elements)) {
  for (const uint64_t count : elements_) {
    block_offsets_.push_back(blocks_end_);
    blocks_end_ += WholePages(count * sizeof(float));
  }
}

uint64_t RecordLayout::details_offset(RoundContents contents) const {
  return contents == RoundContents::kNothing ? kJournalPage : blocks_end_;
}

uint64_t RecordLayout::details_bytes(RoundContents contents, size_t participants) const {
  return blocks(contents) * sizeof(uint64_t) + participants * sizeof(uint32_t);
}

uint64_t RecordLayout::record_bytes(RoundContents contents, size_t participants) const {
  return details_offset(contents) + WholePages(details_bytes(contents, participants));
}

std::string SegmentName(uint64_t number) { return absl::StrCat("journal-", absl::Dec(number, absl::kZeroPad6)); }

absl::StatusOr<uint64_t> SegmentNumber(absl::string_view name) {
  uint64_t number = 0;
  if (!absl::StartsWith(name, "journal-") || !absl::SimpleAtoi(name.substr(8), &number) ||
      SegmentName(number) != name) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": not a segment of a journal"));
  }
  return number;
}

absl::Status DamagedFile(absl::string_view path, uint64_t offset, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": damaged at byte ", offset, ": ", what));
}

}  // namespace lockstep::storage
