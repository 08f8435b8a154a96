#include "common/safetensors/fingerprint.h"

#include <xxhash.h>

#include "absl/strings/str_format.h"
#include "common/safetensors/format.h"

namespace lockstep::safetensors {

struct Fingerprinter::State {
  XXH3_state_t* xxh3 = XXH3_createState();
  ~State() { XXH3_freeState(xxh3); }
};

Fingerprinter::Fingerprinter() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->xxh3); }

Fingerprinter::~Fingerprinter() = default;

void Fingerprinter::Update(const void* bytes, size_t size) {
  if (size > 0) XXH3_128bits_update(state_->xxh3, bytes, size);
}

void Fingerprinter::Update(absl::Span<const float> elements) {
  Update(elements.data(), elements.size() * sizeof(float));
}

std::string Fingerprinter::Hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh3);
  return absl::StrFormat("%016x%016x", hash.high64, hash.low64);
}

std::string FingerprintOf(absl::Span<const TensorView> tensors) {
  Fingerprinter fingerprinter;
  for (const TensorView* tensor : internal::SortedByName(tensors)) fingerprinter.Update(tensor->data);
  return fingerprinter.Hex();
}

}  // namespace lockstep::safetensors
