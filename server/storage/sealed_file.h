// A small file that is replaced as a whole and never believed when it is damaged: a line that says what it is, the
// XXH3-128 of what follows, and that.
//
// Thread-safety: functions have no state; everything blocks on the disk.
#ifndef LOCKSTEP_SERVER_STORAGE_SEALED_FILE_H_
#define LOCKSTEP_SERVER_STORAGE_SEALED_FILE_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/storage/file_system.h"

namespace lockstep::storage {

// Survives the death of the machine; makes the folder of `path`. `kind`: what it is and the number of its format,
// without a line break. Errors as FileSystem: then the file that was there before still is.
absl::Status WriteSealedFile(FileSystem& files, const std::string& path, absl::string_view kind,
                             absl::string_view contents);

// Absent: no such file. DATA_LOSS: it is damaged or of another kind; the message names the file and where.
absl::StatusOr<std::optional<std::string>> ReadSealedFile(FileSystem& files, const std::string& path,
                                                          absl::string_view kind);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_SEALED_FILE_H_
