// Random numbers and random orders as pure functions: nothing here has state, so that any process
// can ask for any element and get the same answer. <random>'s distributions and std::shuffle are
// not used, since the standard leaves their results to the library.
#ifndef WORKER_TRAINER_PERMUTATION_H_
#define WORKER_TRAINER_PERMUTATION_H_

#include <cstdint>

namespace lockstep::trainer {

// A bijection on 64 bits whose output looks random: the finalizer of SplitMix64 (Steele, Lea and
// Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
constexpr uint64_t Mix64(uint64_t z) {
  z += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// A random order of 0..size-1 that is never stored: O(1) memory, O(1) expected time per element.
//
// How: a Feistel network is a bijection on 2k-bit numbers whatever its round function is (Luby and
// Rackoff, 1988). k is the least with 4^k >= size, so that the domain is less than 4 x size. A
// result past the end is fed in again until it falls inside ("cycle walking", Black and Rogaway,
// "Ciphers with arbitrary finite domains", CT-RSA 2002), which keeps it a bijection on 0..size-1.
//
// Example: Permutation order(key, 60000); order(0), order(1), ... name each sample exactly once.
//
// Thread-safety: immutable.
class Permutation {
 public:
  // Another key gives another order. `size` is at least 1.
  Permutation(uint64_t key, uint32_t size);

  // The element at `position`, which is less than size(). Distinct positions, distinct elements.
  uint32_t operator()(uint32_t position) const;

  uint32_t size() const { return size_; }

 private:
  uint32_t Encrypt(uint32_t value) const;

  uint64_t key_;
  uint32_t size_;
  uint32_t half_bits_;  // k: bits of each half of the Feistel network, 1..16.
};

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_PERMUTATION_H_
