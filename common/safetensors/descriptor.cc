#include "common/safetensors/descriptor.h"

#include <unistd.h>

#include <utility>

namespace lockstep::safetensors::internal {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Descriptor::~Descriptor() {
  if (open()) ::close(fd_);
}

int Descriptor::release() { return std::exchange(fd_, -1); }

}  // namespace lockstep::safetensors::internal
