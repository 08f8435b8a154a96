// What every program of Lockstep does first: its log, and the run-time settings of its libraries.
#ifndef LOCKSTEP_COMMON_LOGGING_H_
#define LOCKSTEP_COMMON_LOGGING_H_

#include <string>

#include "absl/status/status.h"

namespace lockstep {

// Sets up spdlog (level: trace, debug, info, warn, error; to `file`, appended, or to stderr if empty; UTC) and switches
// off the mutex deadlock detector that Debian's Abseil is built with. Call once, first in main. INVALID_ARGUMENT: no
// such level, or the file cannot be written.
absl::Status StartProcess(const std::string& level, const std::string& file);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_LOGGING_H_
