// The errors that reading and writing `.safetensors` files share.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_MESSAGES_H_
#define LOCKSTEP_COMMON_SAFETENSORS_MESSAGES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lockstep::safetensors::internal {

// Text from a file, fit for a message: printable, and not endless.
std::string Quote(absl::string_view text);

// DATA_LOSS: what is wrong with the file, where, and what to do about it.
absl::Status Damaged(absl::string_view path, uint64_t offset, absl::string_view what);

// What the file system answered, an errno.
absl::Status SystemError(int error, absl::string_view doing, absl::string_view path);

}  // namespace lockstep::safetensors::internal

#endif  // LOCKSTEP_COMMON_SAFETENSORS_MESSAGES_H_
