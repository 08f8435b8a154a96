#include "server/storage/sealed_file.h"

#include <xxhash.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace lockstep::storage {
namespace {

constexpr size_t kChecksumBytes = sizeof(XXH128_canonical_t);

std::string Checksum(absl::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  return std::string(reinterpret_cast<const char*>(canonical.digest), kChecksumBytes);
}

}  // namespace

absl::Status WriteSealedFile(FileSystem& files, const std::string& path, absl::string_view kind,
                             absl::string_view contents) {
  if (absl::Status status = files.MakeFolder(FolderOf(path)); !status.ok()) return status;
  const std::string bytes = absl::StrCat(kind, "\n", Checksum(contents), contents);
  return ReplaceFile(files, path, Bytes(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()));
}

absl::StatusOr<std::optional<std::string>> ReadSealedFile(FileSystem& files, const std::string& path,
                                                          absl::string_view kind) {
  const absl::StatusOr<std::string> bytes = ReadFile(files, path);
  if (absl::IsNotFound(bytes.status())) return std::nullopt;
  if (!bytes.ok()) return bytes.status();
  const std::string line = absl::StrCat(kind, "\n");
  const size_t head = line.size() + kChecksumBytes;
  if (!absl::StartsWith(*bytes, line)) {
    return absl::DataLossError(absl::StrCat(path, " is damaged at offset 0: expected '", kind, "'"));
  }
  if (bytes->size() < head) {
    return absl::DataLossError(absl::StrCat(path, " is damaged: it ends at offset ", bytes->size()));
  }
  std::string contents = bytes->substr(head);
  if (bytes->substr(line.size(), kChecksumBytes) != Checksum(contents)) {
    return absl::DataLossError(
        absl::StrCat(path, " is damaged: the bytes from offset ", head, " on do not match the checksum before them"));
  }
  return contents;
}

}  // namespace lockstep::storage
