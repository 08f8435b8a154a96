// Blocks of floats that are used again: a fresh allocation of this size would fault in every page at each round.
//
// A Buffer is counted by its BufferRefs; when the last goes (the last send of its bytes included), its memory returns
// to the pool. So a block that is being sent is never written over: whoever wants to write takes another buffer.
//
// Thread-safety: all of it; a Buffer's contents are the business of who holds it.
#ifndef LOCKSTEP_SERVER_STORAGE_BUFFER_POOL_H_
#define LOCKSTEP_SERVER_STORAGE_BUFFER_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "common/mutex.h"

namespace lockstep::storage {

// The memory of one block.
class Buffer {
 public:
  explicit Buffer(size_t elements);

  absl::Span<float> values() { return {values_.get(), elements_}; }
  absl::Span<const float> values() const { return {values_.get(), elements_}; }
  size_t bytes() const { return elements_ * sizeof(float); }

  // XXH3-64 of the bytes; set by whoever fills the buffer, before others see it.
  std::optional<uint64_t> checksum;

 private:
  struct Free {
    void operator()(float* values) const;
  };
  size_t elements_;
  std::unique_ptr<float[], Free> values_;  // on a cache line's boundary
};

using BufferRef = std::shared_ptr<Buffer>;

// Must be held by a shared_ptr: buffers in use keep it alive.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static std::shared_ptr<BufferPool> Create() { return std::shared_ptr<BufferPool>(new BufferPool); }

  // A buffer of `elements` floats with undefined contents. Does not block.
  BufferRef Take(size_t elements);

 private:
  BufferPool() = default;
  void Return(std::unique_ptr<Buffer> buffer);

  Mutex mutex_;
  absl::flat_hash_map<size_t, std::vector<std::unique_ptr<Buffer>>> idle_ ABSL_GUARDED_BY(mutex_);  // by elements
};

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_BUFFER_POOL_H_
