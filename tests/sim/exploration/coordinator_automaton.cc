#include "tests/sim/exploration/coordinator_automaton.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/exploration/bytes.h"
#include "tests/sim/exploration/core_state.h"

namespace lockstep::exploration {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1);

core::CoordinatorOptions RunOptions() { return {.run_id = "run", .workers = kWorkers, .shards = kShards}; }

}  // namespace

std::string CoordinatorState::Key() const {
  std::string key;
  core::StateReader::Append(core, key);
  Bytes(key).Add(life, members);
  return key;
}

CoordinatorAutomaton::CoordinatorAutomaton(Context& context) : Automaton(context) {
  states_.Intern({.core = core::CoordinatorCore(RunOptions(), kNow), .life = 0, .members = {}});
}

core::WorkerJoins CoordinatorAutomaton::Join(const Member& worker) {
  return {.incarnation = worker.incarnation,
          .name = absl::StrCat("worker-", worker.rank.value()),
          .rank = worker.rank,
          .run_id = ""};
}

core::WorkerDefines CoordinatorAutomaton::Define(const Member& worker) {
  return {.incarnation = worker.incarnation, .model = {.tensors = {{.name = "w", .shape = {2}}}}};
}

std::vector<Action> CoordinatorAutomaton::OwnActions(uint32_t state) const {
  if (states_[state].life >= context_.options.crashes || context_.options.power_loss) return {};
  return {{ActionKind::kCrash}};
}

Outcome CoordinatorAutomaton::Take(uint32_t state, Action action) {
  Taking taking{.state = states_[state], .outcome = {}};
  if (action.kind == ActionKind::kCrash) {
    CoordinatorState& now = taking.state;
    now.core = core::CoordinatorCore(RunOptions(), now.core.memory(), kNow);
    ++now.life;
    now.members.clear();
    taking.outcome.optional = true;
  } else {
    Deliver(context_.messages[action.argument].content, taking);
  }
  taking.outcome.beyond = taking.state.core.generation() > Generation(context_.options.generations);
  taking.outcome.next = taking.outcome.beyond ? state : states_.Intern(std::move(taking.state));
  return std::move(taking.outcome);
}

void CoordinatorAutomaton::Deliver(const Content& content, Taking& taking) {
  if (const auto* arrives = std::get_if<core::ShardArrives>(&content)) {
    const core::ShardSeat& seat = taking.state.core.shards()[arrives->shard.value()];
    taking.outcome.optional = seat.present && seat.incarnation == arrives->incarnation;
  }
  if (const auto* installed = std::get_if<core::ShardInstalled>(&content)) AnnounceEarly(*installed, taking);
  std::visit(
      [&](const auto& event) {
        using Event = std::decay_t<decltype(event)>;
        constexpr bool kMeantForIt =
            std::is_same_v<Event, core::WorkerJoins> || std::is_same_v<Event, core::WorkerDefines> ||
            std::is_same_v<Event, core::ShardArrives> || std::is_same_v<Event, core::ShardSealed> ||
            std::is_same_v<Event, core::ShardInstalled>;
        if constexpr (kMeantForIt) Step(event, taking);
      },
      content);
}

template <class Event>
void CoordinatorAutomaton::Step(const Event& event, Taking& taking) {
  core::CoordinatorEffects effects;
  taking.state.core.Step(event, kNow, effects);
  for (const core::CoordinatorEffect& effect : effects) {
    std::visit([&](const auto& what) { Do(what, taking); }, effect);
  }
}

// What rule b forbids: the first shard that has installed a generation is enough.
void CoordinatorAutomaton::AnnounceEarly(const core::ShardInstalled& event, Taking& taking) {
  const core::CoordinatorCore& core = taking.state.core;
  const bool current = core.state() == core::RunState::kInstalling && event.generation == core.generation();
  if (context_.options.rules.announce_after_all || !current || !event.error.empty()) return;
  Do(core::AnnounceGeneration{core.generation(), core.resume(), taking.state.members, {}}, taking);
}

// ---- What no message can change any more ----

bool CoordinatorAutomaton::IsPast(uint32_t, const Content& message) const {
  // Answers are asked for once per generation; one that is not waited for now will not be waited for later.
  return std::holds_alternative<core::ShardSealed>(message) || std::holds_alternative<core::ShardInstalled>(message);
}

// Of several streams of one shard, the one that was opened last counts (see README.md of tests/sim).
bool CoordinatorAutomaton::IsHeldBack(uint32_t state, const Content& message) const {
  const auto* arrives = std::get_if<core::ShardArrives>(&message);
  if (arrives == nullptr) return false;
  const core::ShardSeat& seat = states_[state].core.shards()[arrives->shard.value()];
  return seat.present && seat.incarnation > arrives->incarnation;
}

// ---- Effects ----

void CoordinatorAutomaton::Send(Place to, Content content, Taking& taking) {
  taking.outcome.sent.push_back(context_.messages.Intern(to, std::move(content)));
}

void CoordinatorAutomaton::Do(const core::AnnounceGeneration& effect, Taking& taking) {
  // To all members: those that are greeted again have been told already, or will be.
  for (const Member& member : effect.members) {
    Send(PlaceOf(member), client::GenerationAnnounced{effect.generation, effect.resume, effect.members}, taking);
  }
}

void CoordinatorAutomaton::Do(const core::SendSeal& effect, Taking& taking) {
  Send(static_cast<Place>(effect.shard.value()), core::SealShard{effect.generation, effect.to}, taking);
}

void CoordinatorAutomaton::Do(const core::SendInstall& effect, Taking& taking) {
  Send(static_cast<Place>(effect.shard.value()),
       core::InstallGeneration{.generation = effect.generation,
                               .to = effect.to,
                               .resume = effect.resume,
                               .members = effect.members,
                               .blocks = 1},
       taking);
  if (!context_.options.rules.announce_after_all) taking.state.members = effect.members;
}

void CoordinatorAutomaton::Do(const core::EndRun& effect, Taking& taking) {
  const bool loss = absl::StrContains(effect.failure, "has lost its memory");
  if (context_.options.power_loss && loss) return;
  taking.outcome.violation = absl::StrCat("the run ends: ", effect.failure);
}

}  // namespace lockstep::exploration
