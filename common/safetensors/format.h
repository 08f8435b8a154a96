// The limits and rules of the format that reading and writing share: see safetensors.h.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_FORMAT_H_
#define LOCKSTEP_COMMON_SAFETENSORS_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/safetensors/tensor.h"

namespace lockstep::safetensors {

// The longest header that is accepted, as in the format's reference implementation.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;

namespace internal {

inline constexpr uint64_t kPrefixBytes = 8;
inline constexpr size_t kMaxDimensions = 64;
inline constexpr uint64_t kMaxDataBytes = std::numeric_limits<int64_t>::max() - kMaxHeaderBytes - 8;
inline constexpr absl::string_view kMetadataKey = "__metadata__";

// product(shape) x element_bytes; nothing when that is negative or beyond any file.
std::optional<uint64_t> ShapeBytes(absl::Span<const int64_t> shape, uint64_t element_bytes);

std::string ShapeJson(absl::Span<const int64_t> shape);

template <typename Tensor>
bool NameLess(const Tensor& a, const Tensor& b) {
  return a.name < b.name;
}

template <typename Tensor>
bool SameName(const Tensor& a, const Tensor& b) {
  return a.name == b.name;
}

// In the order of a file's data section: bytewise by name.
std::vector<const TensorView*> SortedByName(absl::Span<const TensorView> tensors);

}  // namespace internal

}  // namespace lockstep::safetensors

#endif  // LOCKSTEP_COMMON_SAFETENSORS_FORMAT_H_
