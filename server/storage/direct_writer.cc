#include "server/storage/direct_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"

namespace lockstep::storage {
namespace {

constexpr std::align_val_t kAlignment{DirectWriter::kPage};

}  // namespace

void DirectWriter::Free::operator()(std::byte* piece) const { ::operator delete(piece, kAlignment); }

// By descriptor, not by name: the file may have another name by now.
DirectWriter::DirectWriter(int descriptor)
    : descriptor_(descriptor),
      direct_(::open(absl::StrCat("/proc/self/fd/", descriptor).c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC)) {}

DirectWriter::~DirectWriter() {
  MutexLock lock(&mutex_);
  if (direct_ >= 0) ::close(direct_);
}

bool DirectWriter::can() const {
  MutexLock lock(&mutex_);
  return direct_ >= 0;
}

ssize_t DirectWriter::Write(uint64_t offset, Bytes bytes) {
  const size_t of_page = offset % kPage;
  if (bytes.size() < kLeast) return ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (of_page != 0) return ::pwrite(descriptor_, bytes.data(), kPage - of_page, static_cast<off_t>(offset));
  return WritePiece(offset, bytes.first(std::min(kPiece, bytes.size() / kPage * kPage)));
}

ssize_t DirectWriter::WritePiece(uint64_t offset, Bytes bytes) {
  MutexLock lock(&mutex_);
  if (direct_ >= 0) {
    if (piece_ == nullptr) piece_.reset(static_cast<std::byte*>(::operator new(kPiece, kAlignment)));
    std::memcpy(piece_.get(), bytes.data(), bytes.size());
    const ssize_t count = ::pwrite(direct_, piece_.get(), bytes.size(), static_cast<off_t>(offset));
    if (count >= 0 || errno != EINVAL) return count;
    ::close(direct_);
    direct_ = -1;
  }
  return ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
}

}  // namespace lockstep::storage
