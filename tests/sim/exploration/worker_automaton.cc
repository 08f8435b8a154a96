#include "tests/sim/exploration/worker_automaton.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/exploration/bytes.h"
#include "tests/sim/exploration/core_state.h"

namespace lockstep::exploration {
namespace {

constexpr Slot kBlock{0};

}  // namespace

std::string WorkerState::Key() const {
  std::string key;
  client::StateReader::Append(core, key);
  Bytes out(key);
  for (const ValueId value : stored) out.Add(value);
  out.Add(held, failed);
  return key;
}

WorkerAutomaton::WorkerAutomaton(Context& context, Member me) : Automaton(context), me_(me) {
  Taking first{.state = {.core = client::SessionCore(
                             {.me = me, .connections = 1, .blocks_per_shard = std::vector<uint32_t>(kShards, 1)})},
               .outcome = {}};
  for (uint32_t s = 0; s < kShards; ++s) Step(client::Connected{ShardIndex(s), 0}, first);
  Step(client::Contribute{Round(0)}, first);
  states_.Intern(std::move(first.state));
}

std::vector<Action> WorkerAutomaton::OwnActions(uint32_t) const {
  std::vector<Action> actions;
  for (uint16_t s = 0; context_.options.broken_streams && s < kShards; ++s) {
    actions.push_back({ActionKind::kReconnect, s});
  }
  return actions;
}

Outcome WorkerAutomaton::Take(uint32_t state, Action action) {
  if (states_[state].failed) return {.action = action, .next = state, .sent = {}, .violation = ""};
  Taking taking{.state = states_[state], .outcome = {}};
  if (action.kind == ActionKind::kReconnect) {
    taking.outcome.optional = true;
    Step(client::Disconnected{ShardIndex(action.argument), 0}, taking);
    Step(client::Connected{ShardIndex(action.argument), 0}, taking);
  } else {
    const Content& content = context_.messages[action.argument].content;
    taking.arrived = std::get_if<Parameters>(&content);
    if (const auto* announced = std::get_if<client::GenerationAnnounced>(&content)) Step(*announced, taking);
    if (const auto* complete = std::get_if<client::CompleteArrived>(&content)) Step(*complete, taking);
    if (taking.arrived != nullptr) Step(taking.arrived->event, taking);
  }
  taking.outcome.next = states_.Intern(std::move(taking.state));
  return std::move(taking.outcome);
}

template <class Event>
void WorkerAutomaton::Step(const Event& event, Taking& taking) {
  client::SessionEffects effects;
  taking.state.core.Step(event, effects);
  for (const client::SessionEffect& effect : effects) {
    std::visit([&](const auto& what) { Do(what, taking); }, effect);
  }
}

bool WorkerAutomaton::IsPast(uint32_t state, const Content& message) const {
  if (states_[state].failed) return true;
  const client::SessionCore& core = states_[state].core;
  // Within a generation, the awaited version only grows.
  const auto late = [&](Generation generation, Version version) {
    return generation < core.generation() || (generation == core.generation() && version <= core.target());
  };
  if (const auto* announced = std::get_if<client::GenerationAnnounced>(&message)) {
    return announced->generation <= core.generation();
  }
  if (const auto* parameters = std::get_if<Parameters>(&message)) {
    return late(parameters->event.generation, parameters->event.version);
  }
  const auto& complete = std::get<client::CompleteArrived>(message);
  return late(complete.generation, complete.version);
}

// ---- Effects ----

void WorkerAutomaton::Expect(bool holds, Taking& taking, const std::string& what) {
  if (!holds && taking.outcome.violation.empty()) taking.outcome.violation = what;
}

void WorkerAutomaton::Send(ShardIndex to, Content content, Taking& taking) {
  taking.outcome.sent.push_back(context_.messages.Intern(static_cast<Place>(to.value()), std::move(content)));
}

void WorkerAutomaton::Do(const client::SendAttach& effect, Taking& taking) {
  Send(effect.shard, core::AttachWorker{me_, effect.generation, effect.next, 0, 1}, taking);
}

void WorkerAutomaton::Do(const client::SendContribution& effect, Taking& taking) {
  Expect(effect.round == context_.values.Next(taking.state.held), taking,
         "a worker contributes to a round without the version before");
  Send(effect.shard, Contribution{{me_, effect.generation, effect.round, kBlock, /*weight=*/1}, taking.state.held},
       taking);
}

void WorkerAutomaton::Do(const client::StoreBlock&, Taking& taking) {
  const client::ParametersArrived& event = taking.arrived->event;
  taking.state.stored[event.shard.value()] = taking.arrived->value;
  Step(client::BlockStored{event.shard, event.generation, event.version, event.slot}, taking);
}

void WorkerAutomaton::Do(const client::VersionHeld& effect, Taking& taking) {
  WorkerState& state = taking.state;
  const ValueId value = state.stored[0];
  for (uint32_t s = 1; s < kShards; ++s) {
    Expect(state.stored[s] == value, taking,
           absl::StrCat("a worker holds version ", effect.version.value(),
                        " of two histories: ", context_.values.Text(value), " on shard 0, ",
                        context_.values.Text(state.stored[s]), " on shard ", s, " (G1)"));
  }
  if (value == kNoValue || context_.values[value].version != effect.version) {
    return Expect(false, taking, "a worker holds a version, but its memory has another one (G1)");
  }
  Expect(RanksOf(context_.values[value].contributors) == effect.participants, taking,
         "a worker is told the wrong participants (G2)");
  // A fresh worker is given a version out of nothing; then each follows the one before.
  Expect(state.held == kNoValue || context_.values.Before(value) == state.held, taking,
         "a version does not follow the one that the worker held (G1)");
  state.held = value;
  taking.outcome.held = value;
  if (effect.version < Version(context_.options.rounds)) Step(client::Contribute{effect.version.next()}, taking);
}

void WorkerAutomaton::Do(const client::SessionFailed& effect, Taking& taking) {
  taking.state.failed = context_.options.power_loss && absl::IsDataLoss(effect.status);
  Expect(taking.state.failed, taking, absl::StrCat("a session fails: ", effect.status.message()));
}

}  // namespace lockstep::exploration
