#include "server/storage/block_store.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/inlined_vector.h"

namespace lockstep::storage {
namespace {

// Elements that one pass of reduce, fold and publish works on: all of its arrays together stay in the L1 cache.
constexpr size_t kStretch = 2048;

template <typename Pointer>
using StatePointers = absl::InlinedVector<Pointer, 2>;

// Gives the weighted mean of a round a stretch at a time.
class Mean {
 public:
  explicit Mean(const RoundInput& input) : input_(input), cursor_(input.contributions) {}

  void Next(size_t offset, absl::Span<float> mean) {
    if (input_.grouped) {
      absl::InlinedVector<const float*, 16> sums;
      for (const float* sum : input_.group_sums) sums.push_back(sum == nullptr ? nullptr : sum + offset);
      compute::CombineGroups(sums, mean);
    } else {
      cursor_.Next(mean);
    }
    compute::DivideBy(input_.total_weight, mean);
  }

 private:
  const RoundInput& input_;
  compute::WeightedSumCursor cursor_;
};

}  // namespace

BlockStore::BlockStore(std::vector<int64_t> elements, compute::OptimizerOptions optimizer,
                       compute::ScheduleOptions schedule)
    : optimizer_(optimizer), schedule_(schedule), pool_(BufferPool::Create()), slots_(elements.size()) {
  const int state_slots = compute::StateSlots(optimizer.kind);
  for (size_t s = 0; s < slots_.size(); ++s) {
    State& state = slots_[s];
    state.elements = static_cast<size_t>(elements[s]);
    parameter_bytes_ += state.elements * sizeof(float);
    if (state_slots > 0) state.gradient.resize(state.elements);
    state.optimizer.assign(static_cast<size_t>(state_slots), std::vector<float>(state.elements, 0.0f));
  }
}

BufferRef BlockStore::Compute(Slot slot, Round round, const RoundInput& input) {
  State& state = slots_[slot.value()];
  if (round > Round(0)) return ComputeRound(state, round, input);
  BufferRef initial = pool_->Take(state.elements);
  std::array<compute::Contribution, 1> only = {input.contributions.at(0)};
  only[0].weight = 1;
  compute::WeightedSum(only, initial->values());
  return initial;
}

BufferRef BlockStore::ComputeRound(State& state, Round round, const RoundInput& input) {
  if (input.total_weight == 0) {
    FoldPending(state, 0, state.elements);
    state.pending.reset();
    return state.current;
  }
  const double lr = compute::LearningRate(schedule_, optimizer_.lr, round.value());
  const compute::OptimizerStep step = compute::MakeStep(optimizer_, lr, round.value());
  BufferRef next = pool_->Take(state.elements);
  Mean mean(input);
  std::array<float, kStretch> scratch;
  for (size_t offset = 0; offset < state.elements; offset += kStretch) {
    const size_t size = std::min(kStretch, state.elements - offset);
    FoldPending(state, offset, size);
    absl::Span<float> gradient(state.gradient.empty() ? scratch.data() : state.gradient.data() + offset, size);
    mean.Next(offset, gradient);
    StatePointers<const float*> before;
    for (const auto& values : state.optimizer) before.push_back(values.data() + offset);
    compute::Publish(step, state.current->values().subspan(offset, size), before, gradient,
                     next->values().subspan(offset, size));
  }
  if (!state.gradient.empty()) state.pending = step;
  return next;
}

void BlockStore::FoldPending(State& state, size_t offset, size_t size) {
  if (!state.pending) return;
  StatePointers<float*> moving;
  for (auto& values : state.optimizer) moving.push_back(values.data() + offset);
  compute::Fold(*state.pending, absl::Span<const float>(state.gradient).subspan(offset, size), moving);
}

BufferRef BlockStore::SumGroup(Slot slot, absl::Span<const compute::Contribution> group) {
  BufferRef sum = pool_->Take(slots_[slot.value()].elements);
  compute::GroupSum(group, sum->values());
  return sum;
}

void BlockStore::Publish(Slot slot, BufferRef block) {
  State& state = slots_[slot.value()];
  state.previous = std::exchange(state.current, std::move(block));
}

void BlockStore::Undo(Slot slot) {
  State& state = slots_[slot.value()];
  state.current = std::move(state.previous);
  state.previous.reset();
  state.pending.reset();
}

void BlockStore::Commit() {
  for (State& state : slots_) state.previous.reset();
}

}  // namespace lockstep::storage
