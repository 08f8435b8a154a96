#include "common/safetensors/format.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"

namespace lockstep::safetensors::internal {

static_assert(std::endian::native == std::endian::little, "the format's numbers are little-endian");

std::optional<uint64_t> ShapeBytes(absl::Span<const int64_t> shape, uint64_t element_bytes) {
  uint64_t bytes = element_bytes;
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    empty |= extent == 0;
    if (empty) continue;
    if (bytes > kMaxDataBytes / static_cast<uint64_t>(extent)) return std::nullopt;
    bytes *= static_cast<uint64_t>(extent);
  }
  return empty ? 0 : bytes;
}

std::string ShapeJson(absl::Span<const int64_t> shape) {
  std::string json;
  for (const int64_t extent : shape) absl::StrAppend(&json, json.empty() ? "" : ",", extent);
  return absl::StrCat("[", json, "]");
}

std::vector<const TensorView*> SortedByName(absl::Span<const TensorView> tensors) {
  std::vector<const TensorView*> sorted;
  for (const TensorView& tensor : tensors) sorted.push_back(&tensor);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const TensorView* a, const TensorView* b) { return a->name < b->name; });
  return sorted;
}

}  // namespace lockstep::safetensors::internal
