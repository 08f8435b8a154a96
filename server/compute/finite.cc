#include "server/compute/finite.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "server/compute/reduce_kernels.h"

namespace lockstep::compute {

bool AllFinite(absl::Span<const float> values) { return internal::AllFinite(values.data(), values.size()); }

std::optional<NotFinite> FirstNotFinite(absl::Span<const float> values) {
  if (AllFinite(values)) {
    return std::nullopt;
  }
  const auto at = std::find_if_not(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
  return NotFinite{static_cast<size_t>(at - values.begin()), *at};
}

std::optional<NotFinite> FirstNotFinite(absl::Span<const ByteSlice> slices, size_t size) {
  constexpr size_t kPiece = 1024;
  internal::SliceReader reader(slices);
  internal::SliceReader::Bounce bounce;
  std::array<float, kPiece> piece;
  for (size_t done = 0; done < size;) {
    const size_t count = std::clamp<size_t>(reader.WholeValues(), 1, std::min(kPiece, size - done));
    std::memcpy(piece.data(), reader.Take(count, bounce), count * sizeof(float));
    if (const auto found = FirstNotFinite(absl::MakeConstSpan(piece).first(count))) {
      return NotFinite{done + found->index, found->value};
    }
    done += count;
  }
  return std::nullopt;
}

}  // namespace lockstep::compute
