#include "worker/trainer/permutation.h"

#include <bit>

#include "worker/trainer/require.h"

namespace lockstep::trainer {
namespace {

// Four rounds suffice in theory; small domains gain from a few more, and they cost nanoseconds.
constexpr uint64_t kFeistelRounds = 8;

uint32_t HalfBits(uint32_t size) {
  const uint32_t bits = std::bit_width(size - 1);
  return bits <= 2 ? 1 : (bits + 1) / 2;
}

}  // namespace

Permutation::Permutation(uint64_t key, uint32_t size) : key_(key), size_(size), half_bits_(HalfBits(size)) {
  Require(size > 0, "a permutation needs at least one element");
}

uint32_t Permutation::Encrypt(uint32_t value) const {
  const uint32_t mask = (uint32_t{1} << half_bits_) - 1;
  uint32_t left = value >> half_bits_;
  uint32_t right = value & mask;
  for (uint64_t round = 0; round < kFeistelRounds; ++round) {
    const uint64_t f = Mix64(key_ ^ Mix64(round << 32 | right));
    const uint32_t next = left ^ (static_cast<uint32_t>(f >> 32) & mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

uint32_t Permutation::operator()(uint32_t position) const {
  Require(position < size_, "permutation asked for a position past its end");
  uint32_t value = Encrypt(position);
  while (value >= size_) value = Encrypt(value);
  return value;
}

}  // namespace lockstep::trainer
