// Reads a whole data file, gzipped or plain.
#ifndef WORKER_TRAINER_INPUT_FILE_H_
#define WORKER_TRAINER_INPUT_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace lockstep::trainer {

// Data larger than this, unpacked, is refused: the trainer holds its data set in memory.
inline constexpr uint64_t kMaxInputBytes = uint64_t{1} << 30;

// The unpacked bytes of `path`; gzip is recognized by content, not by name. Memory grows with what
// the file really holds, so that a damaged file can't make it large.
//
// NotFound: no such file. ResourceExhausted: more than `max_bytes`. DataLoss: damaged or truncated
// gzip data. Otherwise the code of the errno (PermissionDenied, ...). Each names file and offset.
absl::StatusOr<std::string> ReadInputFile(const std::string& path, uint64_t max_bytes = kMaxInputBytes);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_INPUT_FILE_H_
