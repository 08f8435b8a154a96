// Writes small files so that readers see the old one or the new one, never a part.
#ifndef WORKER_TRAINER_WHOLE_FILE_H_
#define WORKER_TRAINER_WHOLE_FILE_H_

#include <string>

#include "absl/status/status.h"

namespace lockstep::trainer {

// Writes PATH.tmp and renames it. INVALID_ARGUMENT, naming the file and the reason, when that is not possible.
absl::Status WriteWholeFile(const std::string& path, const std::string& content);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_WHOLE_FILE_H_
