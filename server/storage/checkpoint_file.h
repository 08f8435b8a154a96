// A shard's file of a checkpoint, open for reading. Nothing that it gives is unchecked.
//
// Thread-safety: const methods may be called at the same time from several threads.
#ifndef LOCKSTEP_SERVER_STORAGE_CHECKPOINT_FILE_H_
#define LOCKSTEP_SERVER_STORAGE_CHECKPOINT_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/safetensors/header_reader.h"
#include "server/storage/checkpoint_names.h"
#include "server/storage/file_system.h"
#include "server/storage/manifest.h"

namespace lockstep::storage::internal {

// The header of a `.safetensors` file, unchecked but for its length. Errors as safetensors::internal::ReadHeaderText.
absl::StatusOr<std::string> ReadHeaderText(const File& file, uint64_t file_bytes);

// A run of elements of one tensor in one section, as it lies in a file.
struct CheckpointPart {
  PartName name;
  std::string text;  // the name in the file
  int64_t first = 0;
  int64_t elements = 0;
  uint64_t offset = 0;    // of its first byte in the file
  std::string checksums;  // of its chunks
};

class CheckpointFileReader {
 public:
  // Opens the file and checks its head. DATA_LOSS: it is missing, has another size or is damaged in its head, or it is
  // not this checkpoint's file of this shard; the message says which, with file and offset.
  static absl::StatusOr<CheckpointFileReader> Open(FileSystem& files, const std::string& path,
                                                   const CheckpointIdentity& identity, const CheckpointFile& expected);

  const std::string& path() const { return file_->path(); }
  // In the order of their names.
  const std::vector<CheckpointPart>& parts() const { return parts_; }

  // Reads chunk number `chunk` of one of parts(); `into` has the chunk's size. DATA_LOSS: it does not match its
  // checksum, and what is in `into` must not be used.
  absl::Status ReadChunk(const CheckpointPart& part, int64_t chunk, absl::Span<float> into) const;
  // Reads everything. DATA_LOSS: some of it is damaged; the message says where the first damage is.
  absl::Status CheckAll() const;

 private:
  absl::Status LoadHead(const CheckpointIdentity& identity, const CheckpointFile& expected);
  absl::Status LoadParts(const safetensors::internal::Header& header, const std::vector<std::string>& sections);

  std::unique_ptr<const File> file_;
  std::vector<CheckpointPart> parts_;
};

// Number of elements of a chunk of a part with `elements` elements.
int64_t ElementsOfChunk(int64_t elements, int64_t chunk);

}  // namespace lockstep::storage::internal

#endif  // LOCKSTEP_SERVER_STORAGE_CHECKPOINT_FILE_H_
