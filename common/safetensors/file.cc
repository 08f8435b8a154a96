#include "common/safetensors/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/safetensors/fingerprint.h"
#include "common/safetensors/format.h"
#include "common/safetensors/header_reader.h"
#include "common/safetensors/messages.h"

namespace lockstep::safetensors {

absl::StatusOr<File> File::Open(const std::string& path) {
  // O_NONBLOCK: a named pipe in the place of the file must not make us wait for a writer.
  File file(path, internal::Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)));
  if (!file.file_.open()) return internal::SystemError(errno, "opening", path);
  struct stat info;
  if (::fstat(file.file_.get(), &info) != 0) return internal::SystemError(errno, "examining", path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(path + ": not a regular file");
  file.size_ = info.st_size;
  absl::Status loaded = file.LoadHeader();
  if (!loaded.ok()) return loaded;
  return file;
}

absl::Status File::LoadHeader() {
  absl::StatusOr<std::string> text = internal::ReadHeaderText(
      path_, size_, [this](uint64_t offset, void* out, uint64_t size) { return ReadBytes(offset, out, size); });
  if (!text.ok()) return text.status();
  absl::StatusOr<internal::Header> header = internal::ReadHeader(path_, *text, size_);
  if (!header.ok()) return header.status();
  data_offset_ = internal::kPrefixBytes + text->size();
  tensors_ = std::move(header->tensors);
  metadata_ = std::move(header->metadata);
  return absl::OkStatus();
}

absl::Status File::ReadBytes(uint64_t offset, void* out, uint64_t size) const {
  char* next = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t count = ::pread(file_.get(), next, size, offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return internal::SystemError(errno, "reading", absl::StrCat(path_, " at byte ", offset));
    if (count == 0) return internal::Damaged(path_, offset, "the file became shorter while it was open");
    next += count;
    size -= count;
    offset += count;
  }
  return absl::OkStatus();
}

const TensorInfo* File::Find(absl::string_view name) const {
  const auto found = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                      [](const TensorInfo& tensor, absl::string_view n) { return tensor.name < n; });
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

absl::Status File::Read(absl::string_view name, absl::Span<float> out) const {
  const TensorInfo* tensor = Find(name);
  if (tensor == nullptr) {
    return absl::NotFoundError(absl::StrCat(path_, ": has no tensor ", internal::Quote(name)));
  }
  if (tensor->dtype == "F32" && tensor->bytes != out.size() * sizeof(float)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": tensor ", internal::Quote(name), " has ", tensor->bytes / sizeof(float), " elements ",
                     internal::ShapeJson(tensor->shape), "; ", out.size(), " were expected"));
  }
  return ReadPart(*tensor, 0, out);
}

absl::Status File::ReadPart(const TensorInfo& tensor, uint64_t first, absl::Span<float> out) const {
  if (tensor.dtype != "F32") {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": tensor ", internal::Quote(tensor.name), " is ", tensor.dtype, "; F32 was expected"));
  }
  const uint64_t elements = tensor.bytes / sizeof(float);
  if (first > elements || out.size() > elements - first) {
    return absl::OutOfRangeError(absl::StrCat(path_, ": ", out.size(), " elements from ", first, " on asked of tensor ",
                                              internal::Quote(tensor.name), ", which has ", elements));
  }
  return ReadBytes(tensor.offset + first * sizeof(float), out.data(), out.size() * sizeof(float));
}

absl::StatusOr<std::string> File::DataFingerprint() const {
  Fingerprinter fingerprinter;
  std::vector<char> buffer(std::min<uint64_t>(size_ - data_offset_, 1 << 20));
  for (uint64_t at = data_offset_; at < size_; at += buffer.size()) {
    buffer.resize(std::min<uint64_t>(buffer.size(), size_ - at));
    absl::Status read = ReadBytes(at, buffer.data(), buffer.size());
    if (!read.ok()) return read;
    fingerprinter.Update(buffer.data(), buffer.size());
  }
  return fingerprinter.Hex();
}

absl::StatusOr<std::string> Fingerprint(const std::string& path) {
  absl::StatusOr<File> file = File::Open(path);
  if (!file.ok()) return file.status();
  return file->DataFingerprint();
}

}  // namespace lockstep::safetensors
