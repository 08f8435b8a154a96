// The tensors and metadata that a `.safetensors` file holds: see safetensors.h.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_TENSOR_H_
#define LOCKSTEP_COMMON_SAFETENSORS_TENSOR_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lockstep::safetensors {

// The free-form strings under `__metadata__`.
using Metadata = std::map<std::string, std::string>;

// A tensor that is going to be written: always F32, row-major.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // empty for a scalar; a 0 makes a tensor without elements
};

// A tensor in memory. Does not own `data`, which holds product(shape) floats in row-major order.
struct TensorView {
  std::string name;
  std::vector<int64_t> shape;
  absl::Span<const float> data;
};

// A tensor in a file.
struct TensorInfo {
  std::string name;
  absl::string_view dtype;  // "F32", "BF16", "I64", ...; refers to a constant
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of its first byte, from the start of the file
  uint64_t bytes = 0;
};

}  // namespace lockstep::safetensors

#endif  // LOCKSTEP_COMMON_SAFETENSORS_TENSOR_H_
