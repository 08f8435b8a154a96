#include "server/storage/checkpoint_chunks.h"

#include <algorithm>
#include <utility>

namespace lockstep::storage::internal {

std::string ChunkChecksum(absl::Span<const float> chunk) {
  safetensors::Fingerprinter fingerprinter;
  fingerprinter.Update(chunk);
  return fingerprinter.Hex();
}

void ChunkHasher::Update(absl::Span<const float> elements) {
  while (!elements.empty()) {
    if (!chunk_) chunk_.emplace();
    const size_t size = std::min(elements.size(), static_cast<size_t>(kChunkElements - filled_));
    chunk_->Update(elements.first(size));
    filled_ += static_cast<int64_t>(size);
    elements.remove_prefix(size);
    if (filled_ == kChunkElements) EndChunk();
  }
}

std::string ChunkHasher::Finish() {
  if (filled_ > 0) EndChunk();
  return std::exchange(checksums_, "");
}

void ChunkHasher::EndChunk() {
  checksums_ += chunk_->Hex();
  chunk_.reset();
  filled_ = 0;
}

}  // namespace lockstep::storage::internal
