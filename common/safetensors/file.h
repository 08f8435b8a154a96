// Reading a `.safetensors` file: see safetensors.h.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_FILE_H_
#define LOCKSTEP_COMMON_SAFETENSORS_FILE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/safetensors/descriptor.h"
#include "common/safetensors/tensor.h"

namespace lockstep::safetensors {

// A validated file, open for reading. Holds the header, not the data.
//
// Thread-safety: const methods may be called at the same time from several threads.
class File {
 public:
  // Reads and checks the header. DATA_LOSS: the file is damaged; the message says where and how.
  // NOT_FOUND, PERMISSION_DENIED, ...: it cannot be opened. INVALID_ARGUMENT: not a regular file.
  static absl::StatusOr<File> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const Metadata& metadata() const { return metadata_; }

  // All tensors, in bytewise order of their names.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  // Null when there is none of that name. Lives as long as the file.
  const TensorInfo* Find(absl::string_view name) const;

  // Reads a whole F32 tensor; `out` must have exactly its number of elements. Blocks on the disk.
  // NOT_FOUND: no such tensor. INVALID_ARGUMENT: not F32, or `out` has another size.
  // DATA_LOSS: the file became shorter since it was opened.
  absl::Status Read(absl::string_view name, absl::Span<float> out) const;

  // Reads `out.size()` elements of an F32 tensor of this file, from element `first` on. Errors as
  // above; OUT_OF_RANGE: they are not all within the tensor.
  absl::Status ReadPart(const TensorInfo& tensor, uint64_t first, absl::Span<float> out) const;

  // XXH3-128 of the data section; see `Fingerprint`. Reads the whole file.
  absl::StatusOr<std::string> DataFingerprint() const;

 private:
  File(std::string path, internal::Descriptor file) : path_(path), file_(std::move(file)) {}
  absl::Status LoadHeader();
  absl::Status ReadBytes(uint64_t offset, void* out, uint64_t size) const;

  std::string path_;
  internal::Descriptor file_;
  uint64_t size_ = 0;
  uint64_t data_offset_ = 0;
  std::vector<TensorInfo> tensors_;
  Metadata metadata_;
};

// The fingerprint of a file's data section, which does not cover names, shapes and metadata. For a
// file from `Writer` it equals `FingerprintOf` the tensors that went in. Errors as `File::Open`.
absl::StatusOr<std::string> Fingerprint(const std::string& path);

}  // namespace lockstep::safetensors

#endif  // LOCKSTEP_COMMON_SAFETENSORS_FILE_H_
