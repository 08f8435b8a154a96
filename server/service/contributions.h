// Contributions: the payloads of the round in progress that a shard keeps until they are reduced, by (slot, rank), and
// the sums of groups of eight ranks that stand for payloads already freed, by (slot, group).
//
// A payload is the received slices themselves: nothing is copied.
//
// Thread-safety: none; ShardDriver holds its lock around every call.
#ifndef LOCKSTEP_SERVER_SERVICE_CONTRIBUTIONS_H_
#define LOCKSTEP_SERVER_SERVICE_CONTRIBUTIONS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/ids.h"
#include "common/wire/frame.h"
#include "server/core/shard.h"
#include "server/storage/buffer_pool.h"

namespace lockstep::service {

struct KeptPayload {
  Rank rank;
  float weight = 0;
  wire::Slices payload;
};

class Contributions {
 public:
  // Forgets everything, and makes room for another round or another model.
  void Reset(uint32_t blocks, uint32_t ranks, uint32_t groups);

  void Keep(Slot slot, Rank rank, wire::Frame& frame);
  // What is kept of that rank, of any slot.
  void Drop(Rank rank);
  // Those of `contributors` that have a payload, in their order; they are not kept any more.
  std::vector<KeptPayload> Take(Slot slot, absl::Span<const core::Weighted> contributors);

  void KeepGroupSum(Slot slot, uint32_t group, storage::BufferRef sum);
  // In group order, null for groups without payload; they are not kept any more.
  std::vector<storage::BufferRef> TakeGroupSums(Slot slot);

  // Of payloads.
  uint64_t kept_bytes() const { return kept_bytes_; }
  uint64_t KeptOf(Rank rank) const { return rank.value() < kept_of_.size() ? kept_of_[rank.value()] : 0; }

 private:
  uint32_t ranks_ = 0;
  uint32_t groups_ = 0;
  std::vector<wire::Slices> kept_;              // [slot][rank]
  std::vector<storage::BufferRef> group_sums_;  // [slot][group]
  uint64_t kept_bytes_ = 0;
  std::vector<uint64_t> kept_of_;  // by rank
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_CONTRIBUTIONS_H_
