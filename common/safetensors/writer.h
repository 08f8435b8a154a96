// Writing a `.safetensors` file: see safetensors.h.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_WRITER_H_
#define LOCKSTEP_COMMON_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/safetensors/descriptor.h"
#include "common/safetensors/tensor.h"

namespace lockstep::safetensors {

// Writes one file, tensor after tensor, without holding a copy of the data.
//
//   Create --Append--> ... --Append--> Finish      destroyed before Finish: nothing is left behind
//
// The bytes go to PATH.tmp; `Finish` makes them durable and renames, so that PATH is at any moment
// the whole old file or the whole new one. After an error, every later call returns that error.
//
// Every call blocks on the disk. Thread-safety: none; one thread at a time.
class Writer {
 public:
  // Starts the file. `tensors` may come in any order; `order()` says how they will be written.
  // INVALID_ARGUMENT: a name twice, a name that is not UTF-8 or is `__metadata__`, a shape that is
  // negative or too large. Otherwise what the file system says: RESOURCE_EXHAUSTED for a full disk,
  // NOT_FOUND for a missing folder, PERMISSION_DENIED.
  static absl::StatusOr<Writer> Create(std::string path, std::vector<TensorSpec> tensors,
                                       const Metadata& metadata = {});

  Writer(Writer&&) = default;
  Writer& operator=(Writer&&) = delete;
  ~Writer();

  // The order in which `Append` expects the tensors: bytewise by name.
  const std::vector<TensorSpec>& order() const { return order_; }

  // Writes the next elements of the concatenation of all tensors in `order()`. A span may be a part
  // of a tensor or reach over several. OUT_OF_RANGE: more elements than the shapes announce.
  absl::Status Append(absl::Span<const float> elements);

  // Makes the file durable (fsync), gives it its name, and makes the name durable. Call it once.
  // FAILED_PRECONDITION: elements are missing, or called again.
  absl::Status Finish();

 private:
  Writer(std::string path, std::vector<TensorSpec> order);
  absl::Status Start(const std::string& header);
  absl::Status WriteBytes(const void* bytes, uint64_t size);
  absl::Status Publish();
  std::string temporary_path() const { return path_ + ".tmp"; }

  std::string path_;
  std::vector<TensorSpec> order_;
  internal::Descriptor file_;  // closed after Finish, and in a moved-from writer
  uint64_t written_ = 0;       // bytes in the temporary file
  uint64_t expected_ = 0;      // bytes that the finished file has
  absl::Status status_;        // the first error
};

// Writes a whole file at once: Create, Append of each, Finish. INVALID_ARGUMENT also when a
// tensor's data does not have as many elements as its shape says.
absl::Status WriteFile(const std::string& path, absl::Span<const TensorView> tensors, const Metadata& metadata = {});

}  // namespace lockstep::safetensors

#endif  // LOCKSTEP_COMMON_SAFETENSORS_WRITER_H_
