// The blocks of one simulated shard, with real arithmetic: what server/storage and server/compute do together in the
// server.
//
//   Keep -> [SumGroup] -> Close: the block of the next version is published; what undoes it is kept (tentative)
//                           -> Commit: the optimizer state moves, what undoes it goes
//                           -> Undo:   the block is as before
//
// Every use that only a bug can cause is a violation.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_BLOCK_STORE_H_
#define LOCKSTEP_TESTS_SIM_BLOCK_STORE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "server/core/shard.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

class BlockStore {
 public:
  using Values = std::vector<float>;
  // Payloads, or group sums, that a reduction has taken out of the store. Absent: weight 0.
  using Inputs = std::vector<std::optional<Values>>;

  // What a checkpoint has of a block.
  struct Contents {
    Values parameters;
    Values velocity;
  };

  BlockStore(World& world, ShardIndex shard, size_t blocks) : world_(world), shard_(shard), blocks_(blocks) {}

  size_t size() const { return blocks_.size(); }

  void Keep(Rank rank, Slot slot, Values payload);
  void DropContributions();
  // What is kept of that rank.
  void Drop(Rank rank);

  // Starts a group's sum: takes the group's payloads.
  Inputs TakePayloads(Slot slot, const std::vector<core::Weighted>& contributors);
  void FinishGroup(const core::SumGroup& sum, const Inputs& inputs);
  // Starts a reduction: takes the payloads, or the sums of all groups that have contributors.
  Inputs TakeInputs(const core::ReduceBlock& reduce);
  void Close(const core::ReduceBlock& reduce, const Inputs& inputs);

  void Commit(Version version);
  void Undo(Slot slot);

  // Of the newest version, which is tentative: what a journal must have to make it again; see JournalRecord.
  std::vector<Values> JournalBlocks(bool nothing) const;
  // Makes the version again that comes after the newest, tentative, from what the journal has of it.
  void Replay(Version version, bool nothing, const std::vector<Values>& blocks);

  // All blocks, which are committed at `version`.
  std::vector<Contents> Snapshot(Version version) const;
  // Takes these in place of all that is here, as committed.
  void Restore(Version version, const std::vector<Contents>& blocks);
  // Forgets all.
  void Clear();

  // The block of `version`, which must be the newest here.
  const Values& Get(Slot slot, Version version);
  // Whether all blocks are of `version`.
  bool AllAt(Version version) const;
  // All blocks have the oracle's bits of `version`, in the history of `generation`.
  void CheckBits(Generation generation, Version version) const;

 private:
  struct Block {
    std::optional<Version> version;  // absent: no values yet
    Values parameters;
    Values before;    // of the version before, while tentative
    Values gradient;  // not folded into the velocity yet, while tentative; empty: the round changed nothing
    Values velocity;
    bool tentative = false;
  };

  // Absent: the round changes nothing.
  std::optional<Values> Sum(const core::ReduceBlock& reduce, const Inputs& inputs, size_t elements) const;
  // The block of `version` from the parameters (round 0) or the gradient.
  void Make(Slot slot, Version version, std::optional<Values> values);
  void Publish(Block& block, Version version, std::optional<Values> gradient);
  void Fold(Block& block, Version version);
  // A planted bug leaves blocks ahead of what the core takes them for.
  bool KeepsUndone() const;
  size_t Elements(Slot slot) const { return world_.plan().elements[shard_.value()][slot.value()]; }
  // A message that says where.
  std::string At(Slot slot, const char* message) const;

  World& world_;
  const ShardIndex shard_;
  std::vector<Block> blocks_;
  std::map<std::pair<Slot, Rank>, Values> kept_;
  std::map<std::pair<Slot, uint32_t>, std::optional<Values>> group_sums_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_BLOCK_STORE_H_
