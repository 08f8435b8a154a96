// What the system's errors mean to whoever reads the message; see the statuses in file_system.h.
//
// Thread-safety: functions.
#ifndef LOCKSTEP_SERVER_STORAGE_SYSTEM_FILES_H_
#define LOCKSTEP_SERVER_STORAGE_SYSTEM_FILES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lockstep::storage::internal {

// `error`: an errno; `doing`: "writing".
absl::Status FileError(int error, absl::string_view doing, const std::string& path);

}  // namespace lockstep::storage::internal

#endif  // LOCKSTEP_SERVER_STORAGE_SYSTEM_FILES_H_
