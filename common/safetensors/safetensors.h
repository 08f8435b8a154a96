// Reads and writes `.safetensors` files: the form in which checkpoints and exported models lie on
// disk, and which NumPy and PyTorch open without any of our code.
//
//   byte 0            8                    8+H                          end of file
//   | u64 LE: H       | JSON header, H B   | data section               |
//
//   {"__metadata__": {"version": "12"},
//    "layer1.bias": {"dtype": "F32", "shape": [128], "data_offsets": [0, 512]}, ...}
//
// `data_offsets` count from the start of the data section. What this code relies on and enforces:
//
//  1. Names are unique and valid UTF-8; `__metadata__` is not a tensor.
//  2. Every tensor's bytes are exactly product(shape) x sizeof(dtype).
//  3. Tensors fill the data section without gap or overlap, and end where the file ends.
//  4. A file from `Writer` has its tensors in bytewise order of their names, and its header padded
//     with spaces to a multiple of 8, so that the same tensors give the same bytes.
//
// Damaged or hostile input is answered with DATA_LOSS naming file and offset. It never crashes, and
// never makes us allocate more than a small multiple of the header that is really there.
//
// Example:
//   absl::StatusOr<File> file = File::Open("model.safetensors");
//   if (!file.ok()) return file.status();
//   std::vector<float> bias(128);
//   return file->Read("layer1.bias", absl::MakeSpan(bias));
#ifndef LOCKSTEP_COMMON_SAFETENSORS_SAFETENSORS_H_
#define LOCKSTEP_COMMON_SAFETENSORS_SAFETENSORS_H_

#include "common/safetensors/file.h"         // IWYU pragma: export
#include "common/safetensors/fingerprint.h"  // IWYU pragma: export
#include "common/safetensors/format.h"       // IWYU pragma: export
#include "common/safetensors/tensor.h"       // IWYU pragma: export
#include "common/safetensors/writer.h"       // IWYU pragma: export

#endif  // LOCKSTEP_COMMON_SAFETENSORS_SAFETENSORS_H_
