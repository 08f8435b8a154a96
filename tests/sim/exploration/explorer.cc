#include "tests/sim/exploration/explorer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/exploration/coordinator_automaton.h"
#include "tests/sim/exploration/shard_automaton.h"
#include "tests/sim/exploration/worker_automaton.h"

namespace lockstep::exploration {
namespace {

// All processes, by the numbers of their locals.
struct State {
  std::array<uint32_t, kPlaces> place = {};  // Automaton::kNobody: nobody is there
  ValueId held = kNoValue;                   // the newest version that any worker has ever held
  uint8_t crashes = 0;                       // left
  uint8_t lost = 0;                          // 1: what was not synced has been lost
  friend bool operator==(const State&, const State&) = default;
};
static_assert(sizeof(State) == 4 * kPlaces + 4, "no padding: hashed as bytes");

// States in the order in which they were found; memory grows by pieces.
class States {
 public:
  States() : index_(0, Hash{this}, Equal{this}) {}
  uint32_t size() const { return size_; }
  const State& operator[](uint32_t i) const { return pieces_[i / kPiece][i % kPiece].state; }
  uint32_t parent(uint32_t i) const { return pieces_[i / kPiece][i % kPiece].parent; }
  // False if it is known.
  bool Add(const State& state, uint32_t parent) {
    if (size_ % kPiece == 0 && size_ / kPiece == pieces_.size()) pieces_.push_back(std::make_unique<Entry[]>(kPiece));
    pieces_[size_ / kPiece][size_ % kPiece] = {state, parent};
    if (!index_.insert(size_).second) return false;
    ++size_;
    return true;
  }

 private:
  static constexpr uint32_t kPiece = 1 << 16;
  struct Entry {
    State state;
    uint32_t parent;
  };
  struct Hash {
    const States* states;
    size_t operator()(uint32_t i) const {
      const State& state = (*states)[i];
      return absl::HashOf(absl::string_view(reinterpret_cast<const char*>(&state), sizeof(state)));
    }
  };
  struct Equal {
    const States* states;
    bool operator()(uint32_t a, uint32_t b) const { return (*states)[a] == (*states)[b]; }
  };

  std::vector<std::unique_ptr<Entry[]>> pieces_;
  uint32_t size_ = 0;
  absl::flat_hash_set<uint32_t, Hash, Equal> index_;
};

// One way on from a state.
struct Transition {
  State next;
  std::string violation;
  Place place = 0;
  std::optional<Action> action;  // absent: a worker is replaced
  bool optional = false;
  bool beyond = false;
};

class Explorer {
 public:
  explicit Explorer(const Options& options);
  ExplorationResult Run();

 private:
  State Begin();
  bool HasBegun(const State& state) const;
  void FindTransitions(const State& state);
  void FindSteps(const State& state, Place place);
  void Replace(const State& state, Rank rank);
  void Greet(const Member& worker, State& state);
  void Send(MessageId message, State& state);
  void CheckHeld(ValueId held, Transition& transition) const;
  void CheckDisks(Transition& transition) const;
  const WorkerState& WorkerOf(const State& state, Rank rank) const;
  bool HasFailed(const State& state) const;
  std::string CheckEnd(const State& state) const;
  // True: go on.
  bool Expand(uint32_t index);
  void Fail(uint32_t index, const Transition* last, const std::string& violation);
  std::string Text(const Transition& transition) const;
  const Automaton& automaton(Place place) const { return *automata_[place]; }

  Context context_;
  std::array<std::unique_ptr<ShardAutomaton>, kShards> shards_;
  std::unique_ptr<CoordinatorAutomaton> coordinator_;
  std::array<std::unique_ptr<WorkerAutomaton>, kLives * kWorkers> workers_;
  std::array<Automaton*, kPlaces> automata_;
  States states_;
  std::vector<Transition> transitions_;  // of the state that is being looked at
  ExplorationResult result_;
};

Explorer::Explorer(const Options& options) : context_{.options = options, .values = {}, .messages = {}} {
  for (uint32_t s = 0; s < kShards; ++s) {
    shards_[s] = std::make_unique<ShardAutomaton>(context_, ShardIndex(s));
    automata_[s] = shards_[s].get();
  }
  coordinator_ = std::make_unique<CoordinatorAutomaton>(context_);
  automata_[kCoordinator] = coordinator_.get();
  for (uint32_t life = 0; life < kLives; ++life) {
    for (uint32_t r = 0; r < kWorkers; ++r) {
      auto& worker = workers_[life * kWorkers + r];
      worker = std::make_unique<WorkerAutomaton>(context_, Member{Rank(r), WorkerIncarnation(Rank(r), life)});
      automata_[PlaceOfWorker(Rank(r), life)] = worker.get();
    }
  }
}

// ---- One step ----

void Explorer::Send(MessageId message, State& state) {
  const Place to = context_.messages[message].to;
  if (state.place[to] == Automaton::kNobody) return;
  state.place[to] = automata_[to]->Receive(state.place[to], message);
}

// A worker begins: it joins, and defines its model when it is welcome.
void Explorer::Greet(const Member& worker, State& state) {
  state.place[PlaceOf(worker)] = automata_[PlaceOf(worker)]->Begin();
  Send(context_.messages.Intern(kCoordinator, CoordinatorAutomaton::Join(worker)), state);
  Send(context_.messages.Intern(kCoordinator, CoordinatorAutomaton::Define(worker)), state);
}

void Explorer::FindTransitions(const State& state) {
  transitions_.clear();
  for (int place = kPlaces - 1; place >= 0; --place) FindSteps(state, static_cast<Place>(place));
  for (uint32_t r = 0; r < kWorkers; ++r) Replace(state, Rank(r));
}

void Explorer::FindSteps(const State& state, Place place) {
  if (state.place[place] == Automaton::kNobody) return;
  for (const Automaton::Step& step : automata_[place]->Steps(state.place[place])) {
    const Outcome& outcome = *step.outcome;
    const bool crash = outcome.action.kind >= ActionKind::kCrash;
    if (crash && state.crashes == 0) continue;
    Transition transition{.next = state,
                          .violation = outcome.violation,
                          .place = place,
                          .action = outcome.action,
                          .optional = outcome.optional,
                          .beyond = outcome.beyond};
    if (!outcome.beyond) {
      State& next = transition.next;
      next.place[place] = step.next;
      if (crash) --next.crashes;
      if (outcome.action.kind == ActionKind::kPowerLoss) next.lost = 1;
      for (const MessageId message : outcome.sent) Send(message, next);
      if (outcome.held != kNoValue) CheckHeld(outcome.held, transition);
      if (next == state && transition.violation.empty()) continue;
      if (place < kShards || next.held != state.held) CheckDisks(transition);
    }
    transitions_.push_back(std::move(transition));
  }
}

// A new process takes the worker's place. The one before may go on until it is told; one that takes no step any more is
// a dead one.
void Explorer::Replace(const State& state, Rank rank) {
  const Place before = PlaceOfWorker(rank, 0);
  const Place after = PlaceOfWorker(rank, 1);
  const bool may = state.crashes > 0 && !context_.options.power_loss;
  if (!may || state.place[after] != Automaton::kNobody) return;
  Transition transition{.next = state, .violation = "", .place = before, .action = std::nullopt, .optional = true};
  --transition.next.crashes;
  Greet({rank, WorkerIncarnation(rank, 1)}, transition.next);
  transitions_.push_back(std::move(transition));
}

// ---- What must hold ----

// (When what was held may be lost, a worker learns that later: CheckEnd.)
void Explorer::CheckHeld(ValueId held, Transition& transition) const {
  if (transition.next.lost != 0) return;
  const Values& values = context_.values;
  ValueId& newest = transition.next.held;
  if (!values.LeadsTo(held, newest) && !values.LeadsTo(newest, held) && transition.violation.empty()) {
    transition.violation = absl::StrCat("a worker holds another history than was held before: ", values.Text(held),
                                        "; before: ", values.Text(newest), " (G1)");
  }
  if (values.Next(held) > values.Next(newest)) newest = held;
}

// Whatever has been held, each shard would come back to.
void Explorer::CheckDisks(Transition& transition) const {
  const State& next = transition.next;
  if (next.lost != 0) return;
  for (uint32_t s = 0; s < kShards; ++s) {
    const ValueId on_disk = shards_[s]->Get(shards_[s]->state(next.place[s])).on_disk;
    if (context_.values.LeadsTo(next.held, on_disk) || !transition.violation.empty()) continue;
    transition.violation = absl::StrCat("a version that was held is lost: ", context_.values.Text(next.held),
                                        "; shard ", s, " would come back to: ", context_.values.Text(on_disk), " (G5)");
  }
}

const WorkerState& Explorer::WorkerOf(const State& state, Rank rank) const {
  const uint32_t life = state.place[PlaceOfWorker(rank, 1)] != Automaton::kNobody ? 1 : 0;
  const WorkerAutomaton& worker = *workers_[life * kWorkers + rank.value()];
  return worker.Get(worker.state(state.place[PlaceOfWorker(rank, life)]));
}

bool Explorer::HasFailed(const State& state) const {
  const core::CoordinatorCore& core = coordinator_->Get(coordinator_->state(state.place[kCoordinator])).core;
  bool failed = core.state() == core::RunState::kFailed;
  for (uint32_t r = 0; r < kWorkers; ++r) failed |= WorkerOf(state, Rank(r)).failed;
  return failed;
}

// What is wrong with a state in which nothing more happens; empty: nothing.
std::string Explorer::CheckEnd(const State& state) const {
  for (uint32_t r = 0; r < kWorkers; ++r) {
    if (WorkerOf(state, Rank(r)).core.next() <= Round(context_.options.rounds)) {
      return "nothing more happens, but a worker waits (G6)";
    }
    if (WorkerOf(state, Rank(r)).held != WorkerOf(state, Rank(0)).held) return "workers hold different versions (G1)";
  }
  return "";
}

// ---- All of them ----

bool Explorer::HasBegun(const State& state) const {
  const core::CoordinatorCore& core = coordinator_->Get(coordinator_->state(state.place[kCoordinator])).core;
  if (context_.options.start == Start::kSealing) return core.state() == core::RunState::kSealing;
  for (uint32_t r = 0; r < kWorkers; ++r) {
    if (workers_[r]->Get(workers_[r]->state(state.place[PlaceOfWorker(Rank(r), 0)])).held == kNoValue) return false;
  }
  return true;
}

State Explorer::Begin() {
  State state;
  for (uint32_t s = 0; s < kShards; ++s) state.place[s] = shards_[s]->Begin();
  state.place[kCoordinator] = coordinator_->Begin();
  for (uint32_t s = 0; s < kShards; ++s) {
    Send(context_.messages.Intern(kCoordinator, shards_[s]->Greeting(shards_[s]->Get(0))), state);
  }
  for (uint32_t r = 0; r < kWorkers; ++r) Greet({Rank(r), WorkerIncarnation(Rank(r), 0)}, state);
  while (!HasBegun(state)) {
    FindTransitions(state);
    const auto leads_on = [](const Transition& t) { return !t.optional && !t.beyond && t.violation.empty(); };
    const auto next = std::find_if(transitions_.begin(), transitions_.end(), leads_on);
    if (next == transitions_.end()) {
      result_.violation = "the run does not even begin";
      break;
    }
    absl::StrAppend(&result_.trace, Text(*next), "\n");
    state = next->next;
  }
  state.crashes = static_cast<uint8_t>(context_.options.crashes);
  return state;
}

std::string Explorer::Text(const Transition& transition) const {
  if (!transition.action) return NameOf(transition.place) + " is replaced by a new process";
  return automaton(transition.place).Text(transition.place, *transition.action);
}

void Explorer::Fail(uint32_t index, const Transition* last, const std::string& violation) {
  std::vector<uint32_t> path = {index};
  while (path.back() != 0) path.push_back(states_.parent(path.back()));
  std::string last_text = last == nullptr ? "" : Text(*last) + "\n";
  for (size_t i = path.size() - 1; i > 0; --i) {
    FindTransitions(states_[path[i]]);
    for (const Transition& transition : transitions_) {
      if (transition.beyond || !(transition.next == states_[path[i - 1]])) continue;
      absl::StrAppend(&result_.trace, Text(transition), "\n");
      break;
    }
  }
  result_.trace += last_text;
  for (ValueId value = 1; value <= context_.values.size(); ++value) {
    const std::string name = absl::StrCat("value #", value);
    const bool is_named = absl::StrContains(result_.trace, name + "\n");
    if (is_named) absl::StrAppend(&result_.trace, "(", name, ": ", context_.values.Text(value), ")\n");
  }
  result_.violation = violation;
}

bool Explorer::Expand(uint32_t index) {
  FindTransitions(states_[index]);
  bool goes_on = false;
  for (const Transition& transition : transitions_) {
    goes_on |= !transition.optional;
    if (transition.beyond) {
      ++result_.beyond_bounds;
      continue;
    }
    ++result_.transitions;
    if (!transition.violation.empty()) {
      const Transition last = transition;
      Fail(index, &last, last.violation);
      return false;
    }
    states_.Add(transition.next, index);
  }
  if (goes_on) return true;
  if (HasFailed(states_[index])) {
    ++result_.failed;
    return true;
  }
  if (const std::string wrong = CheckEnd(states_[index]); !wrong.empty()) {
    Fail(index, nullptr, wrong);
    return false;
  }
  ++result_.finished;
  return true;
}

ExplorationResult Explorer::Run() {
  const auto start = std::chrono::steady_clock::now();
  states_.Add(Begin(), 0);
  if (!result_.violation.empty()) return std::move(result_);
  result_.trace.clear();
  uint32_t index = 0;
  uint32_t level_end = 1;
  while (index < states_.size() && states_.size() < context_.options.max_states && Expand(index)) {
    if (++index < level_end) continue;
    level_end = states_.size();
    if (index < level_end) ++result_.longest;
  }
  result_.all = index == states_.size();
  result_.states = states_.size();
  for (const Automaton* automaton : automata_) result_.core_states += automaton->states();
  result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return std::move(result_);
}

}  // namespace

ExplorationResult Explore(const Options& options) { return Explorer(options).Run(); }

}  // namespace lockstep::exploration
