#include "server/storage/buffer_pool.h"

#include <new>
#include <utility>

namespace lockstep::storage {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

Buffer::Buffer(size_t elements)
    : elements_(elements), values_(static_cast<float*>(::operator new(elements * sizeof(float), kAlignment))) {}

void Buffer::Free::operator()(float* values) const { ::operator delete(values, kAlignment); }

BufferRef BufferPool::Take(size_t elements) {
  std::unique_ptr<Buffer> buffer;
  {
    MutexLock lock(&mutex_);
    auto& idle = idle_[elements];
    if (!idle.empty()) {
      buffer = std::move(idle.back());
      idle.pop_back();
    }
  }
  if (buffer == nullptr) buffer = std::make_unique<Buffer>(elements);
  buffer->checksum.reset();
  return BufferRef(buffer.release(),
                   [pool = shared_from_this()](Buffer* used) { pool->Return(std::unique_ptr<Buffer>(used)); });
}

void BufferPool::Return(std::unique_ptr<Buffer> buffer) {
  const size_t elements = buffer->values().size();
  MutexLock lock(&mutex_);
  idle_[elements].push_back(std::move(buffer));
}

}  // namespace lockstep::storage
