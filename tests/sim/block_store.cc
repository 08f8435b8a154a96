#include "tests/sim/block_store.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "server/compute/optimizer.h"
#include "server/compute/reduce.h"

namespace lockstep::sim {
namespace {

compute::OptimizerStep StepOf(Version version) {
  compute::OptimizerOptions options = compute::DefaultOptions(compute::OptimizerKind::kMomentum);
  options.momentum = kMomentum;
  return compute::MakeStep(options, kLearningRate, version.value());
}

// The inputs as the compute library takes them.
class Contributions {
 public:
  Contributions(const std::vector<core::Weighted>& who, const BlockStore::Inputs& inputs) : slices_(inputs.size()) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i])
        slices_[i] = {reinterpret_cast<const std::byte*>(inputs[i]->data()), inputs[i]->size() * sizeof(float)};
      contributions_.push_back({.rank = who[i].rank.value(),
                                .weight = who[i].weight,
                                .slices = absl::MakeConstSpan(&slices_[i], inputs[i] ? 1 : 0)});
    }
  }
  absl::Span<const compute::Contribution> get() const { return contributions_; }

 private:
  std::vector<compute::ByteSlice> slices_;
  std::vector<compute::Contribution> contributions_;
};

bool AnyWeight(const std::vector<core::Weighted>& who) {
  return std::any_of(who.begin(), who.end(), [](const core::Weighted& w) { return w.weight > 0; });
}

}  // namespace

std::string BlockStore::At(Slot slot, const char* message) const {
  return absl::StrCat("shard ", shard_.value(), ", block ", slot.value(), ": ", message);
}

void BlockStore::Keep(Rank rank, Slot slot, Values payload) {
  auto [at, is_new] = kept_.try_emplace({slot, rank}, payload);
  if (is_new) return;
  world_.Expect(world_.has(PlantedBug::kCountsDuplicates), At(slot, "a payload is kept twice (G3)"));
  for (size_t i = 0; i < payload.size(); ++i) at->second[i] += payload[i];
}

void BlockStore::DropContributions() {
  kept_.clear();
  group_sums_.clear();
}

void BlockStore::Drop(Rank rank) {
  std::erase_if(kept_, [rank](const auto& kept) { return kept.first.second == rank; });
}

BlockStore::Inputs BlockStore::TakePayloads(Slot slot, const std::vector<core::Weighted>& contributors) {
  Inputs inputs;
  for (const core::Weighted& who : contributors) {
    auto node = kept_.extract({slot, who.rank});
    world_.Expect(!node.empty() || who.weight == 0, At(slot, "a contribution that counts has no payload (G3)"));
    if (node.empty()) {
      inputs.push_back(std::nullopt);
    } else {
      inputs.push_back(std::move(node.mapped()));
    }
  }
  return inputs;
}

void BlockStore::FinishGroup(const core::SumGroup& sum, const Inputs& inputs) {
  std::optional<Values>& result = group_sums_[{sum.slot, sum.group}];
  if (!AnyWeight(sum.contributors)) return;
  result.emplace(Elements(sum.slot));
  compute::GroupSum(Contributions(sum.contributors, inputs).get(), absl::MakeSpan(*result));
}

BlockStore::Inputs BlockStore::TakeInputs(const core::ReduceBlock& reduce) {
  if (!reduce.grouped) return TakePayloads(reduce.slot, reduce.contributors);
  Inputs inputs(reduce.contributors.back().rank.value() / compute::kRadix + 1);
  for (uint32_t group = 0; group < inputs.size(); ++group) {
    auto node = group_sums_.extract({reduce.slot, group});
    if (!node.empty()) inputs[group] = std::move(node.mapped());
  }
  return inputs;
}

std::optional<BlockStore::Values> BlockStore::Sum(const core::ReduceBlock& reduce, const Inputs& inputs,
                                                  size_t elements) const {
  if (!AnyWeight(reduce.contributors)) return std::nullopt;
  Values sum(elements, 0.0f);
  if (reduce.grouped) {
    std::vector<const float*> groups;
    for (const auto& group : inputs) groups.push_back(group ? group->data() : nullptr);
    compute::CombineGroups(groups, absl::MakeSpan(sum));
  } else {
    compute::WeightedSum(Contributions(reduce.contributors, inputs).get(), absl::MakeSpan(sum));
  }
  float total = 0;
  for (const core::Weighted& who : reduce.contributors) total += who.weight;
  compute::DivideBy(total, absl::MakeSpan(sum));
  return sum;
}

void BlockStore::Close(const core::ReduceBlock& reduce, const Inputs& inputs) {
  Make(reduce.slot, reduce.round,
       reduce.round == Round(0) ? inputs.front() : Sum(reduce, inputs, Elements(reduce.slot)));
}

void BlockStore::Make(Slot slot, Version version, std::optional<Values> values) {
  Block& block = blocks_[slot.value()];
  if (!KeepsUndone()) {
    const Round next = block.version ? block.version->next() : Round(0);
    world_.Expect(!block.tentative, At(slot, "made again before the version was committed or undone (G4)"));
    world_.Expect(version == next, At(slot, "a round is skipped or repeated (G1)"));
  }
  if (version == Version(0)) {
    block.velocity.assign(Elements(slot), 0.0f);
    block.parameters = std::move(values).value_or(Values());
    block.gradient.clear();
    block.before.clear();
  } else {
    Publish(block, version, std::move(values));
  }
  block.version = version;
  block.tentative = true;
}

bool BlockStore::KeepsUndone() const {
  return world_.has(PlantedBug::kForgetsUndo) || world_.has(PlantedBug::kReplayForgetsUndo);
}

void BlockStore::Publish(Block& block, Version version, std::optional<Values> gradient) {
  block.before = block.parameters;
  block.gradient.clear();
  if (!gradient) return;
  const float* state[] = {block.velocity.data()};
  compute::Publish(StepOf(version), block.before, state, absl::MakeSpan(*gradient), absl::MakeSpan(block.parameters));
  block.gradient = *std::move(gradient);
  if (world_.has(PlantedBug::kFoldsEarly)) Fold(block, version);
}

void BlockStore::Fold(Block& block, Version version) {
  if (block.gradient.empty()) return;
  float* state[] = {block.velocity.data()};
  compute::Fold(StepOf(version), block.gradient, state);
}

void BlockStore::Commit(Version version) {
  for (uint32_t s = 0; s < blocks_.size(); ++s) {
    Block& block = blocks_[s];
    world_.Expect(block.tentative && block.version == version,
                  At(Slot(s), "a version that is not here is committed (G5)"));
    if (!world_.has(PlantedBug::kFoldsEarly)) Fold(block, version);
    block.tentative = false;
    block.before.clear();
  }
}

void BlockStore::Undo(Slot slot) {
  if (world_.has(PlantedBug::kForgetsUndo)) return;
  Block& block = blocks_[slot.value()];
  world_.Expect(block.tentative, At(slot, "a committed block is undone (G5)"));
  block.tentative = false;
  block.parameters = std::exchange(block.before, {});
  if (block.version == Version(0)) {
    block.version.reset();
  } else {
    block.version = block.version->previous();
  }
}

std::vector<BlockStore::Values> BlockStore::JournalBlocks(bool nothing) const {
  std::vector<Values> values;
  for (size_t s = 0; s < blocks_.size() && !nothing; ++s) {
    const Block& block = blocks_[s];
    world_.Expect(block.tentative, At(Slot(s), "a version that is not tentative is journaled (G5)"));
    values.push_back(block.version == Version(0) ? block.parameters : block.gradient);
  }
  return values;
}

void BlockStore::Replay(Version version, bool nothing, const std::vector<Values>& blocks) {
  for (uint32_t s = 0; s < blocks_.size(); ++s) {
    std::optional<Values> values;
    if (!nothing) values = blocks[s];
    if (nothing && world_.has(PlantedBug::kReplaysNothingAsZero)) values = Values(Elements(Slot(s)), 0.0f);
    Make(Slot(s), version, std::move(values));
    if (world_.has(PlantedBug::kReplaysTwice)) Fold(blocks_[s], version);
  }
}

const BlockStore::Values& BlockStore::Get(Slot slot, Version version) {
  world_.Expect(blocks_[slot.value()].version == version || KeepsUndone(),
                At(slot, "a version that is not here is sent (G1)"));
  return blocks_[slot.value()].parameters;
}

std::vector<BlockStore::Contents> BlockStore::Snapshot(Version version) const {
  std::vector<Contents> contents;
  for (uint32_t s = 0; s < blocks_.size(); ++s) {
    const Block& block = blocks_[s];
    world_.Expect((!block.tentative && block.version == version) || KeepsUndone(),
                  At(Slot(s), "a checkpoint is taken of a version that is not committed here (G5)"));
    contents.push_back({block.parameters, block.velocity});
  }
  return contents;
}

void BlockStore::Restore(Version version, const std::vector<Contents>& blocks) {
  Clear();
  for (size_t s = 0; s < blocks_.size(); ++s) {
    blocks_[s].version = version;
    blocks_[s].parameters = blocks[s].parameters;
    blocks_[s].velocity = blocks[s].velocity;
  }
}

void BlockStore::Clear() {
  DropContributions();
  blocks_.assign(blocks_.size(), {});
}

void BlockStore::CheckBits(Generation generation, Version version) const {
  for (uint32_t s = 0; s < blocks_.size(); ++s) {
    const Values& expected = world_.oracle().Parameters(generation, version, shard_, Slot(s));
    const Values& values = blocks_[s].parameters;
    const bool same = values.size() == expected.size() &&
                      std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)) == 0;
    world_.Expect(same, At(Slot(s), "wrong bits (G4, G5)"));
  }
}

bool BlockStore::AllAt(Version version) const {
  return std::all_of(blocks_.begin(), blocks_.end(), [&](const Block& block) { return block.version == version; });
}

}  // namespace lockstep::sim
