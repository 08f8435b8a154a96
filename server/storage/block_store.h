// BlockStore: the parameters and optimizer state of one shard, block by block, with what it takes to undo a round.
//
//   per block:   previous   current   (fresh, while Compute works)
//                  v-1         v          v+1
//
// Compute makes the block of the next version in fresh memory and touches nothing that others see; Publish makes it the
// current one; Undo takes it back; Commit lets go of what undoing would need. The optimizer state is that of the
// version before the newest one: the newest round's effective gradient waits beside it ("pending") and is folded in
// when the next round is computed, because only then is the newest version sure to be committed.
//
// Thread-safety: the caller serialises everything per slot (the core's states do that: a slot that is being reduced is
// not published, undone or reduced); different slots may be computed at the same time. Commit touches all slots'
// `previous`, which Compute does not.
#ifndef LOCKSTEP_SERVER_STORAGE_BLOCK_STORE_H_
#define LOCKSTEP_SERVER_STORAGE_BLOCK_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "common/ids.h"
#include "server/compute/optimizer.h"
#include "server/compute/reduce.h"
#include "server/compute/schedule.h"
#include "server/storage/buffer_pool.h"

namespace lockstep::storage {

// What is reduced: the kept payloads of the ranks, or the sums of groups of eight.
struct RoundInput {
  std::vector<compute::Contribution> contributions;  // ascending by rank; empty if grouped
  std::vector<const float*> group_sums;              // in group order, null for groups without payload; if grouped
  bool grouped = false;
  float total_weight = 0;
};

class BlockStore {
 public:
  // `elements` by slot. Options are valid.
  BlockStore(std::vector<int64_t> elements, compute::OptimizerOptions optimizer, compute::ScheduleOptions schedule);

  uint32_t blocks() const { return static_cast<uint32_t>(slots_.size()); }
  size_t elements(Slot slot) const { return slots_[slot.value()].elements; }
  size_t parameter_bytes() const { return parameter_bytes_; }
  // The newest published block; null before round 0.
  const BufferRef& current(Slot slot) const { return slots_[slot.value()].current; }
  // The block of the version before, or null once that is committed.
  const BufferRef& previous(Slot slot) const { return slots_[slot.value()].previous; }

  // The block of version `round`, computed from the current one. Round 0: the payload of the only contribution.
  // A round whose weights are all 0 leaves the parameters as they are.
  BufferRef Compute(Slot slot, Round round, const RoundInput& input);
  // The sum of one group's payloads.
  BufferRef SumGroup(Slot slot, absl::Span<const compute::Contribution> group);
  void Publish(Slot slot, BufferRef block);
  // Takes the newest published block back.
  void Undo(Slot slot);
  // The newest published version is committed, on all slots.
  void Commit();

 private:
  struct State {
    size_t elements = 0;
    BufferRef current;
    BufferRef previous;
    std::optional<compute::OptimizerStep> pending;  // of the newest version; its effective gradient is in `gradient`
    std::vector<float> gradient;                    // empty for optimizers without state
    std::vector<std::vector<float>> optimizer;      // slots of the optimizer
  };

  BufferRef ComputeRound(State& state, Round round, const RoundInput& input);
  void FoldPending(State& state, size_t offset, size_t size);

  const compute::OptimizerOptions optimizer_;
  const compute::ScheduleOptions schedule_;
  const std::shared_ptr<BufferPool> pool_;
  std::vector<State> slots_;
  size_t parameter_bytes_ = 0;
};

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_BLOCK_STORE_H_
