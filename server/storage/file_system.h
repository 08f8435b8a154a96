// Files as the journal, the checkpoints and the coordinator's state need them, so that tests can put a disk beneath
// that fails, fills up, stalls, flips bits and forgets what was not synced.
//
// Errors are the same everywhere, and each names the file:
//   RESOURCE_EXHAUSTED   the disk or the quota is full; nothing is damaged, the same call may succeed later
//   UNAVAILABLE          the disk failed (EIO); the same call may succeed later, but what was written since the last
//   Sync
//                        must be written again
//   NOT_FOUND, PERMISSION_DENIED, ALREADY_EXISTS, INVALID_ARGUMENT   as the system says
//   OUT_OF_RANGE         a read reaches past the end of the file
//
// Thread-safety: all of it, but for two writes of overlapping bytes. Everything may block on the disk.
#ifndef LOCKSTEP_SERVER_STORAGE_FILE_SYSTEM_H_
#define LOCKSTEP_SERVER_STORAGE_FILE_SYSTEM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace lockstep::storage {

using Bytes = absl::Span<const std::byte>;
using MutableBytes = absl::Span<std::byte>;

inline Bytes AsBytes(absl::string_view text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }

// An open file.
class File {
 public:
  virtual ~File() = default;
  virtual const std::string& path() const = 0;

  // Reads exactly into.size() bytes from `offset` on.
  virtual absl::Status Read(uint64_t offset, MutableBytes into) const = 0;
  // Writes all bytes at `offset`; the file grows as needed. Survives the death of the process, not of the machine.
  // After an error any part of the bytes may be there.
  virtual absl::Status Write(uint64_t offset, Bytes bytes) = 0;
  // Like Write, for many bytes that nobody reads soon: they leave the system's cache to others where that can be.
  virtual absl::Status WriteUncached(uint64_t offset, Bytes bytes) { return Write(offset, bytes); }
  // Makes what was written survive the death of the machine, too.
  virtual absl::Status Sync() = 0;
  // Takes the space up to `size` now, so that a later write below it does not meet a full disk. Does not shorten.
  virtual absl::Status Allocate(uint64_t size) = 0;
  virtual absl::Status Truncate(uint64_t size) = 0;
  virtual absl::StatusOr<uint64_t> Size() const = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Opens for reading and writing; makes the file if there is none.
  virtual absl::StatusOr<std::unique_ptr<File>> OpenOrCreate(const std::string& path) = 0;
  // Opens for reading.
  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path) = 0;
  // Names of what lies in the folder, sorted. NOT_FOUND: no such folder.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& folder) = 0;
  // With all folders above it. OK when it is there.
  virtual absl::Status MakeFolder(const std::string& folder) = 0;
  // Replaces `to` in one step. Survives the death of the machine after SyncFolder.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  // A file or an empty folder. OK when there is none.
  virtual absl::Status Remove(const std::string& path) = 0;
  // Makes the names in the folder survive the death of the machine.
  virtual absl::Status SyncFolder(const std::string& folder) = 0;
};

// The machine's own.
FileSystem& SystemFiles();

// The folder that the file or folder `path` lies in.
std::string FolderOf(const std::string& path);

// Writes a whole file in one step: PATH.tmp, Sync, Rename, SyncFolder. At any moment PATH is the old file or the new
// one; after an error, too, either may be there. Without `sync` that holds for the death of the process, not of the
// machine.
absl::Status ReplaceFile(FileSystem& files, const std::string& path, Bytes contents, bool sync = true);

// Makes every file that lies in `folder` survive the death of the machine. OK when there is no such folder.
absl::Status SyncAllIn(FileSystem& files, const std::string& folder);

// The whole file.
absl::StatusOr<std::string> ReadFile(FileSystem& files, const std::string& path);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_FILE_SYSTEM_H_
