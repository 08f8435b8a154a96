#include "common/safetensors/writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/safetensors/format.h"
#include "common/safetensors/header_writer.h"
#include "common/safetensors/messages.h"

namespace lockstep::safetensors {
namespace {

// Makes the entries of the folder that holds `path` durable.
absl::Status SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  internal::Descriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.open() || ::fsync(fd.get()) != 0) return internal::SystemError(errno, "syncing folder", folder);
  return absl::OkStatus();
}

absl::Status CheckData(const TensorView& tensor) {
  const std::optional<uint64_t> bytes = internal::ShapeBytes(tensor.shape, sizeof(float));
  if (bytes == tensor.data.size() * sizeof(float)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tensor ", internal::Quote(tensor.name), " of shape ",
                                                 internal::ShapeJson(tensor.shape), " comes with ", tensor.data.size(),
                                                 " elements"));
}

}  // namespace

Writer::Writer(std::string path, std::vector<TensorSpec> order) : path_(std::move(path)), order_(std::move(order)) {}

Writer::~Writer() {
  if (file_.open()) ::unlink(temporary_path().c_str());
}

absl::StatusOr<Writer> Writer::Create(std::string path, std::vector<TensorSpec> tensors, const Metadata& metadata) {
  std::sort(tensors.begin(), tensors.end(), internal::NameLess<TensorSpec>);
  Writer writer(std::move(path), std::move(tensors));
  uint64_t data_bytes = 0;
  absl::StatusOr<std::string> header = internal::HeaderJson(writer.order_, metadata, &data_bytes);
  if (!header.ok()) return header.status();
  writer.expected_ = internal::kPrefixBytes + header->size() + data_bytes;
  absl::Status started = writer.Start(*header);
  if (!started.ok()) return started;
  return writer;
}

absl::Status Writer::Start(const std::string& header) {
  const std::string path = temporary_path();
  file_ = internal::Descriptor(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH));
  if (!file_.open()) return status_ = internal::SystemError(errno, "creating", path);
  const uint64_t length = header.size();
  absl::Status prefix = WriteBytes(&length, sizeof(length));
  return prefix.ok() ? WriteBytes(header.data(), header.size()) : prefix;
}

absl::Status Writer::WriteBytes(const void* bytes, uint64_t size) {
  const char* next = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t count = ::write(file_.get(), next, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error = count < 0 ? errno : EIO;
      return status_ = internal::SystemError(error, "writing",
                                             absl::StrCat(temporary_path(), " at byte ", written_, " of ", expected_));
    }
    next += count;
    size -= count;
    written_ += count;
  }
  return absl::OkStatus();
}

absl::Status Writer::Append(absl::Span<const float> elements) {
  if (!status_.ok()) return status_;
  if (!file_.open()) return absl::FailedPreconditionError(path_ + ": Append after Finish");
  const uint64_t bytes = elements.size() * sizeof(float);
  if (bytes > expected_ - written_) {
    return status_ = absl::OutOfRangeError(absl::StrCat(
               path_, ": ", bytes, " bytes appended where the shapes leave room for ", expected_ - written_));
  }
  return WriteBytes(elements.data(), bytes);
}

absl::Status Writer::Finish() {
  if (!status_.ok()) return status_;
  if (!file_.open()) return absl::FailedPreconditionError(path_ + ": Finish called twice");
  if (written_ != expected_) {
    return status_ = absl::FailedPreconditionError(absl::StrCat(path_, ": finished after ", written_, " of ", expected_,
                                                                " bytes: not all elements were appended"));
  }
  return status_ = Publish();
}

absl::Status Writer::Publish() {
  const std::string temporary = temporary_path();
  if (::fsync(file_.get()) != 0) return internal::SystemError(errno, "syncing", temporary);
  if (::rename(temporary.c_str(), path_.c_str()) != 0) {
    return internal::SystemError(errno, absl::StrCat("renaming ", temporary, " to"), path_);
  }
  internal::Descriptor done = std::move(file_);
  return SyncFolderOf(path_);
}

absl::Status WriteFile(const std::string& path, absl::Span<const TensorView> tensors, const Metadata& metadata) {
  std::vector<TensorSpec> specs;
  for (const TensorView& tensor : tensors) {
    absl::Status checked = CheckData(tensor);
    if (!checked.ok()) return checked;
    specs.push_back({tensor.name, tensor.shape});
  }
  absl::StatusOr<Writer> writer = Writer::Create(path, std::move(specs), metadata);
  if (!writer.ok()) return writer.status();
  for (const TensorView* tensor : internal::SortedByName(tensors)) {
    absl::Status appended = writer->Append(tensor->data);
    if (!appended.ok()) return appended;
  }
  return writer->Finish();
}

}  // namespace lockstep::safetensors
