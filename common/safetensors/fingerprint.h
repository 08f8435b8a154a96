// Fingerprints of tensors: see safetensors.h.
#ifndef LOCKSTEP_COMMON_SAFETENSORS_FINGERPRINT_H_
#define LOCKSTEP_COMMON_SAFETENSORS_FINGERPRINT_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/types/span.h"
#include "common/safetensors/tensor.h"

namespace lockstep::safetensors {

// XXH3-128 over the elements of tensors, fed in bytewise order of their names. Two models have the
// same fingerprint when they have the same bits. Thread-safety: none.
class Fingerprinter {
 public:
  Fingerprinter();
  ~Fingerprinter();
  Fingerprinter(const Fingerprinter&) = delete;
  Fingerprinter& operator=(const Fingerprinter&) = delete;

  void Update(const void* bytes, size_t size);
  void Update(absl::Span<const float> elements);

  // Canonical (big-endian) form: 32 lower-case hexadecimal digits.
  std::string Hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The fingerprint of tensors in memory, given in any order.
std::string FingerprintOf(absl::Span<const TensorView> tensors);

}  // namespace lockstep::safetensors

#endif  // LOCKSTEP_COMMON_SAFETENSORS_FINGERPRINT_H_
