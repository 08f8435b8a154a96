// Strong types for the ids of the protocol: a rank is not a shard index is not a round.
//
// Each wraps one unsigned integer, converts from and to it only explicitly, compares, hashes (absl containers) and
// prints. Thread-safety: plain values.
#ifndef LOCKSTEP_COMMON_IDS_H_
#define LOCKSTEP_COMMON_IDS_H_

#include <compare>
#include <cstdint>
#include <ostream>
#include <utility>

namespace lockstep {

template <class Tag, class Integer>
class Id {
 public:
  using value_type = Integer;

  constexpr Id() = default;
  constexpr explicit Id(Integer value) : value_(value) {}

  constexpr Integer value() const { return value_; }
  // The id that follows this one.
  constexpr Id next() const { return Id(value_ + 1); }
  // The id before this one; only for ids that are not 0.
  constexpr Id previous() const { return Id(value_ - 1); }

  friend constexpr auto operator<=>(Id, Id) = default;
  friend std::ostream& operator<<(std::ostream& out, Id id) { return out << +id.value_; }
  template <typename H>
  friend H AbslHashValue(H h, Id id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  Integer value_ = 0;
};

// A worker's place in the run: 0..N-1.
using Rank = Id<struct RankTag, uint32_t>;
// A shard's place in the run: 0..S-1.
using ShardIndex = Id<struct ShardIndexTag, uint32_t>;
// Index of a block among all blocks of the model, in the model's order.
using BlockIndex = Id<struct BlockIndexTag, uint32_t>;
// Index of a block among the blocks of its shard.
using Slot = Id<struct SlotTag, uint32_t>;
// One life of a process in its place; random.
using Incarnation = Id<struct IncarnationTag, uint64_t>;
// Number of a membership set; 0: none yet.
using Generation = Id<struct GenerationTag, uint64_t>;
// Round r takes the parameters from version r-1 to version r; round 0 brings the initial values, version 0.
using Round = Id<struct RoundTag, uint64_t>;
using Version = Round;

// One worker process in its place.
struct Member {
  Rank rank;
  Incarnation incarnation;
  friend auto operator<=>(const Member&, const Member&) = default;
};

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_IDS_H_
