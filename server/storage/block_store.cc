#include "server/storage/block_store.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/algorithm/container.h"
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

// The first element that is not finite, of a block that is looked at a stretch at a time.
class Finiteness {
 public:
  explicit Finiteness(bool looks) : looks_(looks) {}

  void Look(NotFinite::In in, size_t offset, absl::Span<const float> values) {
    if (!looks_ || found_ || compute::AllFinite(values)) return;
    found_ = NotFinite{.in = in, .first = *compute::FirstNotFinite(values)};
    found_->first.index += offset;
  }
  const std::optional<NotFinite>& found() const { return found_; }

 private:
  const bool looks_;
  std::optional<NotFinite> found_;
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
    if (state_slots > 0) state.gradient = pool_->Take(state.elements);
    for (int i = 0; i < state_slots; ++i) {
      state.optimizer.push_back(pool_->Take(state.elements));
      const absl::Span<float> values = state.optimizer.back()->values();
      std::fill(values.begin(), values.end(), 0.0f);
    }
  }
}

compute::OptimizerStep BlockStore::StepOf(Round round) const {
  const double lr = compute::LearningRate(schedule_, optimizer_.lr, round.value());
  return compute::MakeStep(optimizer_, lr, round.value());
}

Made BlockStore::Compute(Slot slot, Round round, const RoundInput& input) {
  State& state = slots_[slot.value()];
  if (round > Round(0)) return ComputeRound(state, round, input);
  BufferRef initial = pool_->Take(state.elements);
  std::array<compute::Contribution, 1> only = {input.contributions.at(0)};
  only[0].weight = 1;
  compute::WeightedSum(only, initial->values());
  Finiteness finiteness(input.check_finite);
  finiteness.Look(NotFinite::In::kSum, 0, initial->values());
  return {std::move(initial), nullptr, finiteness.found()};
}

Made BlockStore::ComputeRound(State& state, Round round, const RoundInput& input) {
  const Folding folding = StartFolding(state);
  if (input.total_weight == 0) {
    Fold(folding, 0, state.elements);
    return {WithoutWeight(state), nullptr, std::nullopt};
  }
  const compute::OptimizerStep step = StepOf(round);
  BufferRef next = pool_->Take(state.elements);
  Mean mean(input);
  Finiteness finiteness(input.check_finite);
  std::array<float, kStretch> scratch;
  for (size_t offset = 0; offset < state.elements; offset += kStretch) {
    const size_t size = std::min(kStretch, state.elements - offset);
    Fold(folding, offset, size);
    const absl::Span<float> gradient = state.gradient == nullptr ? absl::MakeSpan(scratch).first(size)
                                                                 : state.gradient->values().subspan(offset, size);
    mean.Next(offset, gradient);
    finiteness.Look(NotFinite::In::kSum, offset, gradient);
    const absl::Span<float> published = next->values().subspan(offset, size);
    Publish(step, state, offset, gradient, published);
    finiteness.Look(NotFinite::In::kParameters, offset, published);
  }
  if (finiteness.found()) return {std::move(next), nullptr, finiteness.found()};
  if (state.gradient != nullptr) {
    state.pending = step;
    state.gradient_lent = true;
  }
  return {std::move(next), state.gradient, std::nullopt};
}

// What a round publishes to which nobody contributed with weight: the parameters as they are, or a mean gradient of
// zeros.
BufferRef BlockStore::WithoutWeight(const State& state) {
  if (optimizer_.kind != compute::OptimizerKind::kAggregate) return state.current;
  BufferRef zeros = pool_->Take(state.elements);
  std::fill(zeros->values().begin(), zeros->values().end(), 0.0f);
  zeros->checksum.reset();
  return zeros;
}

// Gives the state memory that nobody else reads, for the fold that is returned and for the next gradient.
BlockStore::Folding BlockStore::StartFolding(State& state) {
  Folding folding{.step = std::exchange(state.pending, std::nullopt),
                  .gradient = state.gradient,
                  .from = state.optimizer,
                  .to = {}};
  if (state.gradient_lent) state.gradient = pool_->Take(state.elements);
  state.gradient_lent = false;
  if (folding.step && state.optimizer_lent) {
    for (BufferRef& buffer : state.optimizer) buffer = pool_->Take(state.elements);
    state.optimizer_lent = false;
  }
  folding.to = state.optimizer;
  return folding;
}

void BlockStore::Fold(const Folding& folding, size_t offset, size_t size) {
  if (!folding.step) return;
  StatePointers<float*> moving;
  for (size_t i = 0; i < folding.to.size(); ++i) {
    moving.push_back(folding.to[i]->values().data() + offset);
    if (folding.to[i] != folding.from[i]) {
      absl::c_copy(folding.from[i]->values().subspan(offset, size), moving.back());
    }
  }
  compute::Fold(*folding.step, absl::Span<const float>(folding.gradient->values()).subspan(offset, size), moving);
}

void BlockStore::Publish(const compute::OptimizerStep& step, const State& state, size_t offset,
                         absl::Span<float> gradient, absl::Span<float> block) {
  StatePointers<const float*> before;
  for (const BufferRef& values : state.optimizer) before.push_back(values->values().data() + offset);
  compute::Publish(step, state.current->values().subspan(offset, gradient.size()), before, gradient, block);
}

GroupSum BlockStore::SumGroup(Slot slot, absl::Span<const compute::Contribution> group, bool check_finite) {
  BufferRef sum = pool_->Take(slots_[slot.value()].elements);
  compute::WeightedSumCursor cursor(group);
  Finiteness finiteness(check_finite);
  for (size_t offset = 0; offset < sum->values().size(); offset += kStretch) {
    const absl::Span<float> stretch = sum->values().subspan(offset, kStretch);
    cursor.Next(stretch);
    finiteness.Look(NotFinite::In::kSum, offset, stretch);
  }
  return {std::move(sum), !finiteness.found()};
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

// ---- Durability ----

void BlockStore::ReplayParameters(Slot slot, BufferRef block) { Publish(slot, std::move(block)); }

void BlockStore::ReplayNothing(Slot slot) {
  State& state = slots_[slot.value()];
  Fold(StartFolding(state), 0, state.elements);
  Publish(slot, WithoutWeight(state));
}

void BlockStore::ReplayGradient(Slot slot, Round round, BufferRef gradient) {
  State& state = slots_[slot.value()];
  Fold(StartFolding(state), 0, state.elements);
  const compute::OptimizerStep step = StepOf(round);
  compute::OptimizerStep decayed = step;
  decayed.weight_decay = 0;  // the effective gradient has it already
  BufferRef next = pool_->Take(state.elements);
  Publish(decayed, state, 0, gradient->values(), next->values());
  state.gradient = std::move(gradient);
  state.pending = step;
  Publish(slot, std::move(next));
}

BlockSnapshot BlockStore::Snapshot(Slot slot) {
  State& state = slots_[slot.value()];
  state.gradient_lent = state.gradient != nullptr;
  state.optimizer_lent = true;
  BlockSnapshot snapshot;
  snapshot.parameters_ = state.current;
  snapshot.state_ = state.optimizer;
  snapshot.pending_ = state.pending;
  snapshot.gradient_ = state.gradient;
  return snapshot;
}

void BlockSnapshot::WriteState(std::vector<std::vector<float>>& into) const {
  into.resize(state_.size());
  StatePointers<float*> moving;
  for (size_t i = 0; i < state_.size(); ++i) {
    const absl::Span<const float> values = state_[i]->values();
    into[i].assign(values.begin(), values.end());
    moving.push_back(into[i].data());
  }
  if (pending_) compute::Fold(*pending_, gradient_->values(), moving);
}

void BlockStore::Restore(Slot slot, absl::Span<const float> parameters,
                         absl::Span<const absl::Span<const float>> optimizer) {
  State& state = slots_[slot.value()];
  state.current = pool_->Take(state.elements);
  absl::c_copy(parameters, state.current->values().begin());
  state.previous.reset();
  state.pending.reset();
  for (size_t i = 0; i < state.optimizer.size(); ++i) {
    if (state.optimizer_lent) state.optimizer[i] = pool_->Take(state.elements);
    absl::c_copy(optimizer[i], state.optimizer[i]->values().begin());
  }
  state.optimizer_lent = false;
}

}  // namespace lockstep::storage
