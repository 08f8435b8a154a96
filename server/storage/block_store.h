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
// What is durable is made of the same pieces. The journal keeps what Compute made of a round (Made: the parameters, or
// the effective gradient where an optimizer has state), and Replay* does with it what Compute did, to the same bits. A
// checkpoint keeps a Snapshot. Both hold on to the buffers themselves: memory that was lent so is not written again,
// the next Compute goes to other memory.
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
#include "server/compute/finite.h"
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
  bool check_finite = false;  // look for NaN and Inf in what comes out
};

// A NaN or an infinity in what a round would have made of a block.
struct NotFinite {
  enum class In {
    kSum,         // the mean of the contributions, or the initial values
    kParameters,  // the sum is finite: the optimizer's step has overflowed
  };
  In in = In::kSum;
  compute::NotFinite first;  // by element
};

// What a round has made of one block.
struct Made {
  BufferRef block;     // the parameters; the block of the version before if the round changed nothing
  BufferRef gradient;  // the effective gradient, from which and the state ReplayGradient makes the same block; null for
                       // optimizers without state, for round 0, and if the round changed nothing
  std::optional<NotFinite> not_finite =
      std::nullopt;  // if RoundInput asks: this block must not be published; compute it again
};

// The sum of one group's payloads.
struct GroupSum {
  BufferRef sum;
  bool finite = true;  // false only if that was asked for
};

// One block of the newest version as a checkpoint needs it. Immutable.
class BlockSnapshot {
 public:
  absl::Span<const float> parameters() const { return parameters_->values(); }
  // Parameters and state.
  int64_t bytes() const {
    return static_cast<int64_t>(parameters().size() * sizeof(float)) * static_cast<int64_t>(1 + state_.size());
  }
  // Writes the optimizer's state at this version: `into[i]` becomes its slot i.
  void WriteState(std::vector<std::vector<float>>& into) const;

 private:
  friend class BlockStore;
  BufferRef parameters_;
  std::vector<BufferRef> state_;  // of the version before
  std::optional<compute::OptimizerStep> pending_;
  BufferRef gradient_;
};

class BlockStore {
 public:
  // `elements` by slot. Options are valid.
  BlockStore(std::vector<int64_t> elements, compute::OptimizerOptions optimizer, compute::ScheduleOptions schedule);

  uint32_t blocks() const { return static_cast<uint32_t>(slots_.size()); }
  size_t elements(Slot slot) const { return slots_[slot.value()].elements; }
  size_t parameter_bytes() const { return parameter_bytes_; }
  // The optimizer has state: a version cannot be made from its parameters alone.
  bool has_state() const { return compute::StateSlots(optimizer_.kind) > 0; }
  // The newest published block; null before round 0.
  const BufferRef& current(Slot slot) const { return slots_[slot.value()].current; }
  // The block of the version before, or null once that is committed.
  const BufferRef& previous(Slot slot) const { return slots_[slot.value()].previous; }

  // The block of version `round`, computed from the current one. Round 0: the payload of the only contribution.
  // What is not finite leaves no trace but in what is returned: the state is that of the version before.
  // A round whose weights are all 0 leaves the parameters as they are; with `aggregate` it gives a gradient of zeros.
  Made Compute(Slot slot, Round round, const RoundInput& input);
  // The sum of one group's payloads.
  GroupSum SumGroup(Slot slot, absl::Span<const compute::Contribution> group, bool check_finite = false);
  void Publish(Slot slot, BufferRef block);
  // Takes the newest published block back.
  void Undo(Slot slot);
  // The newest published version is committed, on all slots.
  void Commit();

  // ---- Durability ----
  // Compute and Publish at once, from what the journal kept of the round.
  void ReplayParameters(Slot slot, BufferRef block);
  void ReplayGradient(Slot slot, Round round, BufferRef gradient);
  void ReplayNothing(Slot slot);
  // A buffer for a block of this slot, with undefined contents.
  BufferRef Take(Slot slot) { return pool_->Take(slots_[slot.value()].elements); }
  // The newest published block with its state. Not while that slot is computed.
  BlockSnapshot Snapshot(Slot slot);
  // The reverse: the slot holds this version, committed. `state` has the optimizer's slots.
  void Restore(Slot slot, absl::Span<const float> parameters, absl::Span<const absl::Span<const float>> state);

 private:
  struct State {
    size_t elements = 0;
    BufferRef current;
    BufferRef previous;
    std::optional<compute::OptimizerStep> pending;  // of the newest version; its effective gradient is in `gradient`
    BufferRef gradient;                             // null for optimizers without state
    std::vector<BufferRef> optimizer;               // slots of the optimizer
    bool gradient_lent = false;                     // somebody else reads it
    bool optimizer_lent = false;
  };
  // A fold of the pending gradient that is under way, from memory that may be lent into memory that is not.
  struct Folding {
    std::optional<compute::OptimizerStep> step;
    BufferRef gradient;
    std::vector<BufferRef> from;
    std::vector<BufferRef> to;  // the same, unless lent
  };

  Made ComputeRound(State& state, Round round, const RoundInput& input);
  BufferRef WithoutWeight(const State& state);
  Folding StartFolding(State& state);
  static void Fold(const Folding& folding, size_t offset, size_t size);
  static void Publish(const compute::OptimizerStep& step, const State& state, size_t offset, absl::Span<float> gradient,
                      absl::Span<float> block);
  compute::OptimizerStep StepOf(Round round) const;

  const compute::OptimizerOptions optimizer_;
  const compute::ScheduleOptions schedule_;
  const std::shared_ptr<BufferPool> pool_;
  std::vector<State> slots_;
  size_t parameter_bytes_ = 0;
};

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_BLOCK_STORE_H_
