#include "common/safetensors/messages.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace lockstep::safetensors::internal {

std::string Quote(absl::string_view text) {
  constexpr size_t kLongest = 80;
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, kLongest)), text.size() > kLongest ? "...'" : "'");
}

absl::Status Damaged(absl::string_view path, uint64_t offset, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": byte ", offset, ": ", what,
                                          ". The file is damaged or not a .safetensors file: use "
                                          "another copy"));
}

absl::Status SystemError(int error, absl::string_view doing, absl::string_view path) {
  return absl::ErrnoToStatus(error, absl::StrCat(doing, " ", path));
}

}  // namespace lockstep::safetensors::internal
