// Checksums of a checkpoint's elements, chunk by chunk, so that a reader who needs only some of a file can still check
// every byte that it reads, before anybody uses it.
//
// Thread-safety: none; one thread at a time.
#ifndef LOCKSTEP_SERVER_STORAGE_CHECKPOINT_CHUNKS_H_
#define LOCKSTEP_SERVER_STORAGE_CHECKPOINT_CHUNKS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "common/safetensors/fingerprint.h"

namespace lockstep::storage::internal {

// Elements that one checksum covers: as many as the smallest blocks have by default, because a shard that restores
// every other block would otherwise read much that it does not need.
inline constexpr int64_t kChunkElements = 16 * 1024;
// Characters of one checksum: XXH3-128 in hex.
inline constexpr size_t kChecksumDigits = 32;

// Number of checksums of a part with `elements` elements.
constexpr int64_t Chunks(int64_t elements) { return (elements + kChunkElements - 1) / kChunkElements; }

// XXH3-128 of one chunk.
std::string ChunkChecksum(absl::Span<const float> chunk);

// The checksums of all chunks of a part, fed in order in pieces of any size.
class ChunkHasher {
 public:
  void Update(absl::Span<const float> elements);
  // The checksums, one after the other without separators.
  std::string Finish();

 private:
  void EndChunk();

  std::string checksums_;
  std::optional<safetensors::Fingerprinter> chunk_;  // that is being filled
  int64_t filled_ = 0;
};

}  // namespace lockstep::storage::internal

#endif  // LOCKSTEP_SERVER_STORAGE_CHECKPOINT_CHUNKS_H_
