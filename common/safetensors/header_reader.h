// Reading and checking the header of a `.safetensors` file.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_HEADER_READER_H_
#define LOCKSTEP_COMMON_SAFETENSORS_HEADER_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/safetensors/tensor.h"

namespace lockstep::safetensors::internal {

// What a header says.
struct Header {
  std::vector<TensorInfo> tensors;  // in bytewise order of their names
  Metadata metadata;
};

// Reads the header `text` of the file `path`, which has `file_bytes` bytes. DATA_LOSS: the text is
// not a header, or does not fit the file; the message says where and how.
absl::StatusOr<Header> ReadHeader(const std::string& path, const std::string& text, uint64_t file_bytes);

}  // namespace lockstep::safetensors::internal

#endif  // LOCKSTEP_COMMON_SAFETENSORS_HEADER_READER_H_
