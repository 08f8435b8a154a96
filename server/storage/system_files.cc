#include "server/storage/system_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/strings/str_cat.h"
#include "server/storage/direct_writer.h"
#include "server/storage/file_system.h"

namespace lockstep::storage {
namespace internal {

absl::Status FileError(int error, absl::string_view doing, const std::string& path) {
  const std::string what = absl::StrCat(doing, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(
          absl::StrCat("no space left on the disk of ", path, " (", what, "): rounds go on when there is room"));
    case ENOENT:
      return absl::NotFoundError(what);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(absl::StrCat(what, "; check owner and mode of the file and of its folder"));
    case EEXIST:
    case ENOTEMPTY:
      return absl::AlreadyExistsError(what);
    case EINVAL:
    case EISDIR:
    case ENOTDIR:
    case ENAMETOOLONG:
    case EFBIG:
      return absl::InvalidArgumentError(what);
    default:
      return absl::UnavailableError(absl::StrCat(what, "; the disk failed: check the kernel's log, it is tried again"));
  }
}

}  // namespace internal

namespace {

using internal::FileError;

// Runs a system call until no signal interrupts it.
template <class Call>
auto Uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class SystemFile : public File {
 public:
  SystemFile(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  ~SystemFile() override { ::close(descriptor_); }

  const std::string& path() const override { return path_; }

  absl::Status Read(uint64_t offset, MutableBytes into) const override {
    while (!into.empty()) {
      const ssize_t count = Uninterrupted([&] { return ::pread(descriptor_, into.data(), into.size(), offset); });
      if (count < 0) return FileError(errno, "reading", path_);
      if (count == 0) {
        return absl::OutOfRangeError(
            absl::StrCat(path_, ": ends at byte ", offset, "; ", into.size(), " more were expected"));
      }
      into.remove_prefix(count);
      offset += count;
    }
    return absl::OkStatus();
  }

  absl::Status Write(uint64_t offset, Bytes bytes) override {
    return WriteAll(offset, bytes, [this](uint64_t at, Bytes rest) {
      return ::pwrite(descriptor_, rest.data(), rest.size(), static_cast<off_t>(at));
    });
  }

  absl::Status WriteUncached(uint64_t offset, Bytes bytes) override {
    absl::call_once(direct_once_, [this] { direct_.emplace(descriptor_); });
    return WriteAll(offset, bytes, [this](uint64_t at, Bytes rest) { return direct_->Write(at, rest); });
  }

  absl::Status Sync() override {
    if (Uninterrupted([&] { return ::fdatasync(descriptor_); }) != 0) return FileError(errno, "syncing", path_);
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t size) override {
    if (size == 0) return absl::OkStatus();
    // Not posix_fallocate: where it is not supported, glibc's stand-in touches each block of what others may be
    // writing.
    if (Uninterrupted([&] { return ::fallocate(descriptor_, 0, 0, static_cast<off_t>(size)); }) == 0) {
      return absl::OkStatus();
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS) return FileError(errno, "allocating space for", path_);
    return FillWithZeros(size);
  }

  absl::Status Truncate(uint64_t size) override {
    if (Uninterrupted([&] { return ::ftruncate(descriptor_, static_cast<off_t>(size)); }) != 0) {
      return FileError(errno, "truncating", path_);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Size() const override {
    struct stat info;
    if (::fstat(descriptor_, &info) != 0) return FileError(errno, "examining", path_);
    return static_cast<uint64_t>(info.st_size);
  }

 private:
  // `write`: as pwrite.
  template <class Write>
  absl::Status WriteAll(uint64_t offset, Bytes bytes, Write write) const {
    while (!bytes.empty()) {
      const ssize_t count = Uninterrupted([&] { return write(offset, bytes); });
      if (count < 0) return FileError(errno, "writing", path_);
      bytes.remove_prefix(count);
      offset += count;
    }
    return absl::OkStatus();
  }

  // For file systems that cannot reserve: takes the space from the end of the file on.
  absl::Status FillWithZeros(uint64_t size) {
    absl::StatusOr<uint64_t> from = Size();
    if (!from.ok()) return from.status();
    const std::vector<std::byte> zeros(std::min<uint64_t>(size, 1 << 20));
    for (uint64_t at = *from; at < size;) {
      const uint64_t count = std::min<uint64_t>(zeros.size(), size - at);
      absl::Status written = Write(at, Bytes(zeros).first(count));
      if (!written.ok()) return written;
      at += count;
    }
    return absl::OkStatus();
  }

  const std::string path_;
  const int descriptor_;
  absl::once_flag direct_once_;
  std::optional<DirectWriter> direct_;  // made when it is needed
};

absl::StatusOr<std::unique_ptr<File>> OpenFile(const std::string& path, int flags) {
  // O_NONBLOCK: a named pipe in the place of the file must not make us wait for its other end.
  const int descriptor = Uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644); });
  if (descriptor < 0) return FileError(errno, "opening", path);
  auto file = std::make_unique<SystemFile>(path, descriptor);
  struct stat info;
  if (::fstat(descriptor, &info) != 0) return FileError(errno, "examining", path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  return file;
}

class PosixFileSystem : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> OpenOrCreate(const std::string& path) override {
    return OpenFile(path, O_RDWR | O_CREAT);
  }

  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path) override { return OpenFile(path, O_RDONLY); }

  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(folder.c_str()), ::closedir);
    if (stream == nullptr) return FileError(errno, "listing", folder);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      errno = 0;
    }
    if (errno != 0) return FileError(errno, "listing", folder);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status MakeFolder(const std::string& folder) override {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) return FileError(error.value(), "making the folder", folder);
    return absl::OkStatus();
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return FileError(errno, absl::StrCat("renaming ", from, " to"), to);
    return absl::OkStatus();
  }

  absl::Status Remove(const std::string& path) override {
    if (std::remove(path.c_str()) != 0 && errno != ENOENT) return FileError(errno, "removing", path);
    return absl::OkStatus();
  }

  absl::Status SyncFolder(const std::string& folder) override {
    const int descriptor = Uninterrupted([&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (descriptor < 0) return FileError(errno, "opening", folder);
    const int result = Uninterrupted([&] { return ::fsync(descriptor); });
    const int error = errno;
    ::close(descriptor);
    return result == 0 ? absl::OkStatus() : FileError(error, "syncing", folder);
  }
};

}  // namespace

FileSystem& SystemFiles() {
  static PosixFileSystem& files = *new PosixFileSystem;
  return files;
}

}  // namespace lockstep::storage
