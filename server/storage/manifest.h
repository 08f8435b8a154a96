// The manifest of a checkpoint: what it is of, and which files make it up. See checkpoint.h.
//
//   {"format": 1, "run_id": "...", "version": 120, ..., "files": [{...}, {...}],
//    "xxh3_128": "..."}
//
// The last field is the XXH3-128 of all bytes before its own value's first digit; what follows its value is fixed. So
// every byte of the manifest is covered, and it is checked before it is parsed.
//
// Thread-safety: pure functions and values.
#ifndef LOCKSTEP_SERVER_STORAGE_MANIFEST_H_
#define LOCKSTEP_SERVER_STORAGE_MANIFEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/ids.h"
#include "common/model.h"
#include "server/compute/optimizer_options.h"

namespace lockstep::storage {

// Version of the format that is written, and the only one that is read.
inline constexpr uint64_t kCheckpointFormat = 1;

// What a checkpoint is of.
struct CheckpointIdentity {
  std::string run_id;
  Version version;
  Generation completed_in;         // the generation in which that version was completed
  std::vector<Rank> participants;  // of that version, ascending
  uint32_t shards = 0;
  compute::OptimizerKind optimizer = compute::OptimizerKind::kSgd;  // decides which state there is

  friend bool operator==(const CheckpointIdentity&, const CheckpointIdentity&) = default;
};

// A shard's file as the manifest lists it.
struct CheckpointFile {
  ShardIndex shard;
  std::string name;  // within the checkpoint's folder
  uint64_t bytes = 0;
  // Of its head (length and header), in hex. The header has the checksums of everything that follows it.
  std::string head_xxh3_128;

  friend bool operator==(const CheckpointFile&, const CheckpointFile&) = default;
};

struct Manifest {
  CheckpointIdentity identity;
  ModelSpec model;
  std::vector<CheckpointFile> files;  // by shard

  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// INVALID_ARGUMENT, naming the field: not what a whole checkpoint's manifest can say.
absl::Status Validate(const Manifest& manifest);

// The manifest as text. INVALID_ARGUMENT: it is not valid, or a string in it is not UTF-8.
absl::StatusOr<std::string> EncodeManifest(const Manifest& manifest);

// The manifest that `text`, the contents of the file `path`, says. DATA_LOSS: it is damaged, and how.
// FAILED_PRECONDITION: it is whole, but of another format than kCheckpointFormat.
absl::StatusOr<Manifest> DecodeManifest(absl::string_view path, absl::string_view text);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_MANIFEST_H_
