// Reading and checking the header of a `.safetensors` file.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_HEADER_READER_H_
#define LOCKSTEP_COMMON_SAFETENSORS_HEADER_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/safetensors/tensor.h"

namespace lockstep::safetensors::internal {

// What a header says.
struct Header {
  std::vector<TensorInfo> tensors;  // in bytewise order of their names
  Metadata metadata;
};

// Reads exactly `size` bytes of a file from `offset` on.
using ByteReader = absl::FunctionRef<absl::Status(uint64_t offset, void* out, uint64_t size)>;

// The text of the header of the file `path`, which has `file_bytes` bytes and is read with `read`. DATA_LOSS: its
// length cannot be right. Otherwise the errors of `read`.
absl::StatusOr<std::string> ReadHeaderText(const std::string& path, uint64_t file_bytes, ByteReader read);

// Reads the header `text` of the file `path`, which has `file_bytes` bytes. DATA_LOSS: the text is
// not a header, or does not fit the file; the message says where and how.
absl::StatusOr<Header> ReadHeader(const std::string& path, const std::string& text, uint64_t file_bytes);

}  // namespace lockstep::safetensors::internal

#endif  // LOCKSTEP_COMMON_SAFETENSORS_HEADER_READER_H_
