#include "server/storage/file_system.h"

#include <utility>

namespace lockstep::storage {
namespace {

absl::Status WriteWhole(FileSystem& files, const std::string& path, Bytes contents, bool sync) {
  absl::StatusOr<std::unique_ptr<File>> file = files.OpenOrCreate(path);
  if (!file.ok()) return file.status();
  absl::Status status = (*file)->Truncate(0);
  if (status.ok()) status = (*file)->Write(0, contents);
  if (status.ok() && sync) status = (*file)->Sync();
  return status;
}

}  // namespace

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status ReplaceFile(FileSystem& files, const std::string& path, Bytes contents, bool sync) {
  const std::string unfinished = path + ".tmp";
  absl::Status status = WriteWhole(files, unfinished, contents, sync);
  if (!status.ok()) {
    files.Remove(unfinished).IgnoreError();  // gives its space back; the next attempt writes over it anyway
    return status;
  }
  status = files.Rename(unfinished, path);
  if (!status.ok() || !sync) return status;
  return files.SyncFolder(FolderOf(path));
}

absl::StatusOr<std::string> ReadFile(FileSystem& files, const std::string& path) {
  absl::StatusOr<std::unique_ptr<File>> file = files.Open(path);
  if (!file.ok()) return file.status();
  const absl::StatusOr<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  std::string contents(*size, '\0');
  absl::Status read = (*file)->Read(0, {reinterpret_cast<std::byte*>(contents.data()), contents.size()});
  if (!read.ok()) return read;
  return contents;
}

absl::Status SyncAllIn(FileSystem& files, const std::string& folder) {
  const absl::StatusOr<std::vector<std::string>> names = files.List(folder);
  if (absl::IsNotFound(names.status())) return absl::OkStatus();
  if (!names.ok()) return names.status();
  absl::Status status;
  for (const std::string& name : *names) {
    const absl::StatusOr<std::unique_ptr<File>> file = files.OpenOrCreate(absl::StrCat(folder, "/", name));
    status.Update(file.ok() ? (*file)->Sync() : file.status());
  }
  status.Update(files.SyncFolder(folder));
  return status;
}

}  // namespace lockstep::storage
