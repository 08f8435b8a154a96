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

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lockstep::safetensors {

// The longest header that is accepted, as in the format's reference implementation.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;

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

namespace internal {

// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  int release();

 private:
  int fd_ = -1;
};

}  // namespace internal

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

// A validated file, open for reading. Holds the header, not the data.
//
// Thread-safety: const methods may be called at the same time from several threads.
class File {
 public:
  // Reads and checks the header. DATA_LOSS: the file is damaged; the message says where and how.
  // NOT_FOUND, PERMISSION_DENIED, ...: it cannot be opened. INVALID_ARGUMENT: not a regular file.
  static absl::StatusOr<File> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const Metadata& metadata() const { return metadata_; }

  // All tensors, in bytewise order of their names.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  // Null when there is none of that name. Lives as long as the file.
  const TensorInfo* Find(absl::string_view name) const;

  // Reads a whole F32 tensor; `out` must have exactly its number of elements. Blocks on the disk.
  // NOT_FOUND: no such tensor. INVALID_ARGUMENT: not F32, or `out` has another size.
  // DATA_LOSS: the file became shorter since it was opened.
  absl::Status Read(absl::string_view name, absl::Span<float> out) const;

  // Reads `out.size()` elements of an F32 tensor of this file, from element `first` on. Errors as
  // above; OUT_OF_RANGE: they are not all within the tensor.
  absl::Status ReadPart(const TensorInfo& tensor, uint64_t first, absl::Span<float> out) const;

  // XXH3-128 of the data section; see `Fingerprint`. Reads the whole file.
  absl::StatusOr<std::string> DataFingerprint() const;

 private:
  File(std::string path, internal::Descriptor file) : path_(path), file_(std::move(file)) {}
  absl::Status LoadHeader();
  absl::Status ReadBytes(uint64_t offset, void* out, uint64_t size) const;

  std::string path_;
  internal::Descriptor file_;
  uint64_t size_ = 0;
  uint64_t data_offset_ = 0;
  std::vector<TensorInfo> tensors_;
  Metadata metadata_;
};

// XXH3-128 over the elements of tensors, fed in bytewise order of their names. Two models have the
// same fingerprint when they have the same bits. Thread-safety: none.
class Fingerprinter {
 public:
  Fingerprinter();
  ~Fingerprinter();
  Fingerprinter(const Fingerprinter&) = delete;
  Fingerprinter& operator=(const Fingerprinter&) = delete;

  void Update(const void* bytes, size_t size);
  void Update(absl::Span<const float> elements);

  // Canonical (big-endian) form: 32 lower-case hexadecimal digits.
  std::string Hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The fingerprint of a file's data section, which does not cover names, shapes and metadata. For a
// file from `Writer` it equals `FingerprintOf` the tensors that went in. Errors as `File::Open`.
absl::StatusOr<std::string> Fingerprint(const std::string& path);

// The same over tensors in memory, given in any order.
std::string FingerprintOf(absl::Span<const TensorView> tensors);

}  // namespace lockstep::safetensors

#endif  // LOCKSTEP_COMMON_SAFETENSORS_SAFETENSORS_H_
