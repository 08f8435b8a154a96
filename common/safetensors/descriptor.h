// A file descriptor with an owner.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_DESCRIPTOR_H_
#define LOCKSTEP_COMMON_SAFETENSORS_DESCRIPTOR_H_

namespace lockstep::safetensors::internal {

// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  int release();

 private:
  int fd_ = -1;
};

}  // namespace lockstep::safetensors::internal

#endif  // LOCKSTEP_COMMON_SAFETENSORS_DESCRIPTOR_H_
