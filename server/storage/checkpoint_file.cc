#include "server/storage/checkpoint_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/safetensors/fingerprint.h"
#include "server/storage/checkpoint_chunks.h"
#include "server/storage/checkpoint_plan.h"

namespace lockstep::storage::internal {
namespace {

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what, ". The checkpoint is damaged: use another one"));
}

absl::Status CheckSize(const File& file, uint64_t expected) {
  const absl::StatusOr<uint64_t> size = file.Size();
  if (!size.ok()) return size.status();
  if (*size == expected) return absl::OkStatus();
  return Damaged(file.path(), absl::StrCat("byte ", std::min(*size, expected), ": the file has ", *size,
                                           " bytes, but should have ", expected));
}

std::string HeadOf(const std::string& text) {
  const uint64_t length = text.size();
  std::string head(sizeof(length), '\0');
  std::memcpy(head.data(), &length, sizeof(length));
  return head + text;
}

// A file can be whole and yet be another shard's, or another version's.
absl::Status CheckMetadata(const std::string& path, const safetensors::Metadata& expected,
                           const safetensors::Metadata& found) {
  for (const auto& [key, value] : expected) {
    const auto entry = found.find(key);
    if (entry != found.end() && entry->second == value) continue;
    return Damaged(path,
                   absl::StrCat("the manifest wants a file with ", key, " '", absl::CHexEscape(value), "', but here ",
                                entry == found.end() ? "it has none"
                                                     : absl::StrCat("it is '", absl::CHexEscape(entry->second), "'")));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadHeaderText(const File& file, uint64_t file_bytes) {
  return safetensors::internal::ReadHeaderText(
      file.path(), file_bytes, [&file](uint64_t offset, void* out, uint64_t size) {
        return file.Read(offset, MutableBytes(static_cast<std::byte*>(out), size));
      });
}

absl::StatusOr<CheckpointFileReader> CheckpointFileReader::Open(FileSystem& files, const std::string& path,
                                                                const CheckpointIdentity& identity,
                                                                const CheckpointFile& expected) {
  absl::StatusOr<std::unique_ptr<File>> file = files.Open(path);
  if (absl::IsNotFound(file.status())) return Damaged(path, "the file is missing");
  if (!file.ok()) return file.status();
  CheckpointFileReader reader;
  reader.file_ = *std::move(file);
  if (absl::Status status = reader.LoadHead(identity, expected); !status.ok()) return status;
  return reader;
}

absl::Status CheckpointFileReader::LoadHead(const CheckpointIdentity& identity, const CheckpointFile& expected) {
  if (absl::Status status = CheckSize(*file_, expected.bytes); !status.ok()) return status;
  const absl::StatusOr<std::string> text = ReadHeaderText(*file_, expected.bytes);
  if (!text.ok()) return text.status();
  const std::string head = HeadOf(*text);
  const std::string checksum = HeadChecksum(head);
  if (checksum != expected.head_xxh3_128) {
    return Damaged(path(), absl::StrCat("bytes 0 to ", head.size(), " (the head) have the checksum ", checksum,
                                        ", but the manifest says ", expected.head_xxh3_128));
  }
  const absl::StatusOr<safetensors::internal::Header> header =
      safetensors::internal::ReadHeader(path(), *text, expected.bytes);
  if (!header.ok()) return header.status();
  absl::Status status = CheckMetadata(path(), FileMetadata(identity, expected.shard), header->metadata);
  if (!status.ok()) return status;
  return LoadParts(*header, Sections(identity.optimizer));
}

absl::Status CheckpointFileReader::LoadParts(const safetensors::internal::Header& header,
                                             const std::vector<std::string>& sections) {
  for (const safetensors::TensorInfo& tensor : header.tensors) {
    const std::string quoted = absl::StrCat("tensor '", absl::CHexEscape(tensor.name), "'");
    std::optional<PartName> name = ParsePartName(tensor.name, sections);
    if (!name || tensor.dtype != "F32") return Damaged(path(), absl::StrCat(quoted, " has no place in a checkpoint"));
    const auto elements = static_cast<int64_t>(tensor.bytes / sizeof(float));
    const auto checksums = header.metadata.find(ChecksumsKey(tensor.name));
    if (checksums == header.metadata.end() || checksums->second.size() != Chunks(elements) * kChecksumDigits) {
      return Damaged(path(), absl::StrCat(quoted, " does not have its checksums"));
    }
    const int64_t first = name->first.value_or(0);
    parts_.push_back({.name = *std::move(name),
                      .text = tensor.name,
                      .first = first,
                      .elements = elements,
                      .offset = tensor.offset,
                      .checksums = checksums->second});
  }
  return absl::OkStatus();
}

absl::Status CheckpointFileReader::ReadChunk(const CheckpointPart& part, int64_t chunk, absl::Span<float> into) const {
  const uint64_t offset = part.offset + static_cast<uint64_t>(chunk * kChunkElements) * sizeof(float);
  const MutableBytes bytes(reinterpret_cast<std::byte*>(into.data()), into.size() * sizeof(float));
  absl::Status read = file_->Read(offset, bytes);
  if (absl::IsOutOfRange(read)) return Damaged(path(), read.message());
  if (!read.ok()) return read;
  const std::string found = ChunkChecksum(into);
  const absl::string_view expected =
      absl::string_view(part.checksums).substr(static_cast<size_t>(chunk) * kChecksumDigits, kChecksumDigits);
  if (found == expected) return absl::OkStatus();
  const int64_t first = part.first + chunk * kChunkElements;
  return Damaged(path(), absl::StrCat("bytes ", offset, " to ", offset + bytes.size(), " (elements ", first, " to ",
                                      first + static_cast<int64_t>(into.size()), " of '",
                                      absl::CHexEscape(part.name.tensor), "', in '", absl::CHexEscape(part.text),
                                      "') have the checksum ", found, ", but should have ", expected));
}

absl::Status CheckpointFileReader::CheckAll() const {
  std::vector<float> values(kChunkElements);
  for (const CheckpointPart& part : parts_) {
    for (int64_t chunk = 0; chunk < Chunks(part.elements); ++chunk) {
      const int64_t size = ElementsOfChunk(part.elements, chunk);
      absl::Status status = ReadChunk(part, chunk, absl::MakeSpan(values).first(static_cast<size_t>(size)));
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

int64_t ElementsOfChunk(int64_t elements, int64_t chunk) {
  return std::min(kChunkElements, elements - chunk * kChunkElements);
}

}  // namespace lockstep::storage::internal
