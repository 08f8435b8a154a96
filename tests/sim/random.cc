#include "tests/sim/random.h"

#include <bit>

namespace lockstep::sim {
namespace {

uint64_t SplitMix(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

uint64_t Mix(std::initializer_list<uint64_t> values) {
  uint64_t mixed = 0;
  for (uint64_t value : values) {
    uint64_t state = mixed ^ value;
    mixed = SplitMix(state);
  }
  return mixed;
}

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) word = SplitMix(seed);
}

uint64_t Random::Next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

absl::Duration Random::Between(absl::Duration lo, absl::Duration hi) {
  return absl::Microseconds(static_cast<int64_t>(Between(static_cast<uint64_t>(absl::ToInt64Microseconds(lo)),
                                                         static_cast<uint64_t>(absl::ToInt64Microseconds(hi)))));
}

}  // namespace lockstep::sim
