// Composing the header of a `.safetensors` file.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_HEADER_WRITER_H_
#define LOCKSTEP_COMMON_SAFETENSORS_HEADER_WRITER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/safetensors/tensor.h"

namespace lockstep::safetensors::internal {

// The JSON text, padded, for tensors in bytewise order of their names. `*data_bytes` becomes their
// total size. INVALID_ARGUMENT: a name, a shape or a length of the header that the format does not allow.
absl::StatusOr<std::string> HeaderJson(absl::Span<const TensorSpec> order, const Metadata& metadata,
                                       uint64_t* data_bytes);

}  // namespace lockstep::safetensors::internal

#endif  // LOCKSTEP_COMMON_SAFETENSORS_HEADER_WRITER_H_
