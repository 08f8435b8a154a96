// The IDX format of the MNIST family of data sets (Y. LeCun, "The MNIST database of handwritten
// digits", section "File formats"):
//
//   offset 0   00 00       always zero
//          2   type        08 = unsigned byte, the only one read here
//          3   D           number of dimensions
//          4   D x uint32  sizes, big-endian, outermost first
//      4+4*D   values      row-major, one byte each, up to the end of the file
#ifndef WORKER_TRAINER_IDX_H_
#define WORKER_TRAINER_IDX_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/trainer/split.h"

namespace lockstep::trainer {

// Owns its values. values.size() is the product of the dimensions.
struct IdxArray {
  std::vector<size_t> dimensions;
  std::string values;        // Unsigned bytes.
  size_t values_offset = 0;  // Where they start in the (unpacked) file, for messages.
};

// Parses the bytes of an IDX file; `file` is its name in messages. DataLoss, with the offset, on a
// wrong magic number, an unknown type, no or too many dimensions, a size that doesn't match the
// number of bytes.
absl::StatusOr<IdxArray> ParseIdx(std::string bytes, absl::string_view file);

// Images and their labels as samples, pixels divided by 255. Images have two dimensions or more,
// labels one. Labels must be below `max_classes`. Errors: those of ReadInputFile and ParseIdx, and
// DataLoss when the two files don't fit together or a label is out of range (with its offset).
absl::StatusOr<Split> ReadIdxPair(const std::string& images_path, const std::string& labels_path, int max_classes);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_IDX_H_
