#include "server/storage/journal_index.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/storage/journal_format.h"

namespace lockstep::storage {
namespace {

constexpr uint64_t kIndexMagic = 0x3178'6449'6a74'734c;  // "LstjIdx1"
constexpr uint64_t kIndexSeed = kIndexMagic;

class Encoder {
 public:
  void Number(uint64_t value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value)); }
  void Text(absl::string_view text) {
    Number(text.size());
    absl::StrAppend(&bytes_, text);
  }
  std::string Finish() && {
    Number(JournalChecksum(AsBytes(bytes_), kIndexSeed));
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
};

// Reads past the end are zeros and end in !whole().
class Decoder {
 public:
  explicit Decoder(absl::string_view bytes) : bytes_(bytes) {}

  uint64_t Number() {
    uint64_t value = 0;
    const absl::string_view bytes = Take(sizeof(value));
    std::memcpy(&value, bytes.data(), bytes.size());
    return value;
  }
  std::string Text() { return std::string(Take(Number())); }
  // A number of things that take `bytes` or more each.
  uint64_t Count(uint64_t bytes) { return std::min(Number(), bytes_.size() / bytes); }
  bool whole() const { return !short_ && bytes_.empty(); }

 private:
  absl::string_view Take(uint64_t size) {
    short_ |= size > bytes_.size();
    const absl::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  absl::string_view bytes_;
  bool short_ = false;
};

}  // namespace

std::string EncodeJournalIndex(const JournalIndex& index) {
  Encoder encoder;
  encoder.Number(kIndexMagic);
  encoder.Text(index.identity.run_id);
  encoder.Number(index.identity.shard.value());
  encoder.Text(index.identity.description);
  encoder.Number(index.identity.elements.size());
  for (const uint64_t elements : index.identity.elements) encoder.Number(elements);
  encoder.Number(index.forgotten.has_value());
  const InstallRecord forgotten = index.forgotten.value_or(InstallRecord{});
  encoder.Number(forgotten.generation.value());
  encoder.Number(forgotten.resume.value());
  encoder.Number(forgotten.restored);
  encoder.Number(index.segments.size());
  for (const SegmentEntry& segment : index.segments) {
    encoder.Number(segment.number);
    encoder.Number(segment.nonce);
    encoder.Number(segment.first_sequence);
  }
  return std::move(encoder).Finish();
}

absl::StatusOr<JournalIndex> DecodeJournalIndex(absl::string_view path, absl::string_view bytes) {
  if (bytes.size() < 2 * sizeof(uint64_t)) return DamagedFile(path, bytes.size(), "the index of the journal ends here");
  const absl::string_view body = bytes.substr(0, bytes.size() - sizeof(uint64_t));
  if (Decoder(bytes.substr(body.size())).Number() != JournalChecksum(AsBytes(body), kIndexSeed)) {
    return DamagedFile(path, 0,
                       absl::StrCat("the ", bytes.size(), " bytes of the journal's index do not match their checksum"));
  }
  Decoder decoder(body);
  if (decoder.Number() != kIndexMagic) return DamagedFile(path, 0, "not the index of a journal, or of a newer format");
  JournalIndex index;
  index.identity.run_id = decoder.Text();
  index.identity.shard = ShardIndex(static_cast<uint32_t>(decoder.Number()));
  index.identity.description = decoder.Text();
  index.identity.elements.resize(decoder.Count(sizeof(uint64_t)));
  for (uint64_t& elements : index.identity.elements) elements = decoder.Number();
  const bool any_forgotten = decoder.Number() != 0;
  InstallRecord forgotten;
  forgotten.generation = Generation(decoder.Number());
  forgotten.resume = Round(decoder.Number());
  forgotten.restored = decoder.Number() != 0;
  if (any_forgotten) index.forgotten = forgotten;
  index.segments.resize(decoder.Count(3 * sizeof(uint64_t)));
  for (SegmentEntry& segment : index.segments) {
    segment.number = decoder.Number();
    segment.nonce = decoder.Number();
    segment.first_sequence = decoder.Number();
  }
  if (!decoder.whole()) return DamagedFile(path, 0, "the journal's index is longer or shorter than it says");
  return index;
}

std::string JournalIndexPath(absl::string_view folder) { return absl::StrCat(folder, "/journal-index"); }

absl::StatusOr<std::vector<uint64_t>> ListSegmentFiles(FileSystem& files, const std::string& folder) {
  const absl::StatusOr<std::vector<std::string>> names = files.List(folder);
  if (!names.ok()) return names.status();
  std::vector<uint64_t> numbers;
  for (const std::string& name : *names) {
    const absl::StatusOr<uint64_t> number = SegmentNumber(name);
    if (number.ok()) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

absl::StatusOr<JournalIndex> LoadJournalIndex(FileSystem& files, const std::string& folder) {
  const absl::StatusOr<std::vector<uint64_t>> segments = ListSegmentFiles(files, folder);
  if (!segments.ok()) return segments.status();
  const std::string path = JournalIndexPath(folder);
  const absl::StatusOr<std::string> bytes = ReadFile(files, path);
  if (bytes.ok()) return DecodeJournalIndex(path, *bytes);
  if (!absl::IsNotFound(bytes.status()) || segments->empty()) return bytes.status();
  return DamagedFile(
      path, 0,
      absl::StrCat("the journal's index is missing, though ", segments->size(), " segments are in the folder"));
}

}  // namespace lockstep::storage
