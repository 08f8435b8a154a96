#include "tests/sim/exploration/shard_automaton.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/sim/exploration/bytes.h"
#include "tests/sim/exploration/core_state.h"

namespace lockstep::exploration {
namespace {

constexpr Slot kBlock{0};
const absl::Time kNow = absl::FromUnixSeconds(1);

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

}  // namespace

std::string ShardState::Key() const {
  std::string key;
  core::StateReader::Append(core, key);
  core::StateReader::Append(disk, key);
  Bytes out(key);
  out.Add(writing.index(), reducing, life, may_serve, members, newest, block, on_disk, kept.size());
  for (const Kept& one : kept) out.Add(one.who, one.on);
  for (const Disk& before : disks_before) {
    core::StateReader::Append(before.memory, key);
    out.Add(before.newest);
  }
  core::StateReader::Append(disk_before_install, key);
  out.Add(installed.generation, installed.resume, installed.members);
  return key;
}

ShardAutomaton::ShardAutomaton(Context& context, ShardIndex index) : Automaton(context), index_(index) {
  states_.Intern(ShardState{.core = core::ShardCore(ShardIncarnation(index, 0), core::Durability::kJournal),
                            .disk = {},
                            .writing = {},
                            .members = {},
                            .kept = {},
                            .disks_before = {},
                            .disk_before_install = {},
                            .installed = {}});
}

core::ShardArrives ShardAutomaton::Greeting(const ShardState& state) const {
  return {.shard = index_, .incarnation = ShardIncarnation(index_, state.life), .address = "", .run_id = ""};
}

// ---- Actions ----

std::vector<Action> ShardAutomaton::OwnActions(uint32_t state) const {
  const ShardState& shard = states_[state];
  std::vector<Action> actions;
  if (shard.reducing) actions.push_back({ActionKind::kReduce});
  const bool writing = shard.writing.index() > 0;
  if (writing) actions.push_back({ActionKind::kJournal});
  for (const Member& member : shard.members) {
    if (!context_.options.broken_streams) break;
    actions.push_back({ActionKind::kDetach, static_cast<uint16_t>(member.rank.value())});
  }
  if (shard.life >= context_.options.crashes) return actions;
  for (size_t lost = 1; lost <= shard.disks_before.size(); ++lost) {
    actions.push_back({ActionKind::kPowerLoss, static_cast<uint16_t>(lost)});
  }
  if (context_.options.power_loss) return actions;
  actions.push_back({ActionKind::kCrash});
  if (writing) actions.push_back({ActionKind::kCrashWithJournal});
  return actions;
}

Outcome ShardAutomaton::Take(uint32_t state, Action action) {
  Taking taking{.state = states_[state], .outcome = {}};
  switch (action.kind) {
    case ActionKind::kDeliver:
      Deliver(context_.messages[action.argument].content, taking);
      break;
    case ActionKind::kReduce:
      EndReduction(taking);
      break;
    case ActionKind::kJournal:
      EndWriting(taking);
      break;
    case ActionKind::kDetach:
      Step(core::DetachWorker{Rank(action.argument), 0}, taking);
      break;
    case ActionKind::kCrash:
    case ActionKind::kCrashWithJournal:
    case ActionKind::kPowerLoss:
      Crash(action, taking);
      break;
    case ActionKind::kReconnect:
      break;
  }
  taking.outcome.optional = action.kind >= ActionKind::kReconnect;
  taking.outcome.disk = taking.state.on_disk;
  taking.outcome.next = states_.Intern(std::move(taking.state));
  return std::move(taking.outcome);
}

void ShardAutomaton::Deliver(const Content& content, Taking& taking) {
  std::visit(Overloaded{[&](const core::SealShard& event) { Step(event, taking); },
                        [&](const core::AttachWorker& event) { Step(event, taking); },
                        [&](const core::InstallGeneration& event) {
                          Step(event, taking);
                          const auto* writing = std::get_if<core::JournalInstall>(&taking.state.writing);
                          if (writing == nullptr || writing->generation != event.generation) return;
                          taking.state.members = event.members;
                          if (!context_.options.rules.restarted_shard_waits) taking.state.installed = event;
                        },
                        [&](const Contribution& contribution) {
                          taking.contribution = &contribution;
                          Step(contribution.event, taking);
                        },
                        [](const auto&) {}},
             content);
}

template <class Event>
void ShardAutomaton::Step(const Event& event, Taking& taking) {
  ShardState& state = taking.state;
  const Round next = state.core.next_round();
  const bool tentative = state.core.tentative();
  core::ShardEffects effects;
  state.core.Step(event, kNow, effects);
  if (state.core.next_round() > next) {
    state.newest = std::exchange(state.block, kNoValue);
  } else if (state.core.next_round() < next) {
    Expect(tentative, taking, absl::StrCat("undoes version ", next.value() - 1, ", which is committed"));
    state.newest = context_.values.Before(state.newest);
    state.block = kNoValue;
  }
  Expect(state.core.next_round() == context_.values.Next(state.newest), taking, "has lost count of its versions");
  for (const core::ShardEffect& effect : effects) {
    std::visit([&](const auto& what) { Do(what, taking); }, effect);
  }
}

void ShardAutomaton::EndReduction(Taking& taking) {
  ShardState& state = taking.state;
  state.reducing = false;
  std::vector<Member> contributors;
  for (const ShardState::Kept& kept : state.kept) contributors.push_back(kept.who);
  std::sort(contributors.begin(), contributors.end());
  state.kept.clear();
  state.block = context_.values.Make(state.newest, state.core.generation(), std::move(contributors));
  Step(core::BlockReduced{kBlock}, taking);
}

// The record that was being written is on the disk.
void ShardAutomaton::WriteToDisk(ShardState& state, Outcome& outcome) const {
  const Round before = state.disk.next();
  if (context_.options.power_loss) state.disks_before.push_back({state.disk, state.on_disk});
  if (std::holds_alternative<core::JournalInstall>(state.writing) && !context_.options.rules.restarted_shard_waits) {
    state.disk_before_install = state.disk;
  }
  const bool valid = std::visit(Overloaded{[](const ShardState::Nothing&) { return false; },
                                           [&](const auto& record) { return state.disk.Add(record); }},
                                state.writing);
  if (!valid) outcome.violation = NameOf(index_.value()) + " writes a record that it could not read again";
  if (state.disk.next() > before) state.on_disk = state.block;
  if (state.disk.next() < before) state.on_disk = context_.values.Before(state.on_disk);
}

void ShardAutomaton::EndWriting(Taking& taking) {
  ShardState& state = taking.state;
  WriteToDisk(state, taking.outcome);
  const auto record = std::exchange(state.writing, ShardState::Nothing{});
  std::visit(Overloaded{[](const ShardState::Nothing&) {},
                        [&](const core::JournalRound& round) {
                          Step(core::RoundJournaled{round.generation, round.version}, taking);
                        },
                        [&](const core::JournalInstall& install) {
                          state.may_serve = true;
                          Step(core::InstallJournaled{install.generation}, taking);
                        }},
             record);
}

void ShardAutomaton::Crash(Action action, Taking& taking) {
  ShardState& state = taking.state;
  if (action.kind == ActionKind::kCrashWithJournal) WriteToDisk(state, taking.outcome);
  if (action.kind == ActionKind::kPowerLoss) {
    const size_t whole = state.disks_before.size() - action.argument;
    state.disk = state.disks_before[whole].memory;
    state.on_disk = state.disks_before[whole].newest;
    state.disks_before.resize(whole);
  }
  const uint32_t life = state.life + 1;
  const Incarnation self = ShardIncarnation(index_, life);
  ShardState back{.core = state.disk.empty() ? core::ShardCore(self, core::Durability::kJournal)
                                             : core::ShardCore(self, state.disk, /*blocks=*/1),
                  .disk = state.disk,
                  .writing = {},
                  .life = life,
                  .members = {},
                  .kept = {},
                  .newest = state.on_disk,
                  .on_disk = state.on_disk,
                  .disks_before = state.disks_before,
                  .disk_before_install = state.disk_before_install,
                  .installed = state.installed};
  state = std::move(back);
  Expect(state.core.next_round() == context_.values.Next(state.newest), taking, "comes back with another version");
  if (!context_.options.rules.restarted_shard_waits) GoOnAsIfNothingHadBeen(state);
  Send(kCoordinator, Greeting(state), taking);
}

// What rule a forbids: the new life takes the newest install for one of its own, and is what the life before it was
// when it wrote the last record.
void ShardAutomaton::GoOnAsIfNothingHadBeen(ShardState& state) const {
  const core::InstallGeneration& installed = state.installed;
  if (state.disk.empty() || state.disk.installed() != installed.generation) return;
  const Incarnation self = state.core.incarnation();
  const core::ShardMemory& before = state.disk_before_install;
  state.core = before.empty() ? core::ShardCore(self, core::Durability::kJournal) : core::ShardCore(self, before, 1);
  core::ShardEffects done;
  state.core.Step(core::SealShard{installed.generation, self}, kNow, done);
  core::InstallGeneration install = installed;
  install.to = self;
  state.core.Step(install, kNow, done);
  state.core.Step(core::InstallJournaled{installed.generation}, kNow, done);
  while (state.core.next_round() < state.disk.next()) {
    const Round round = state.core.next_round();
    for (const Member& member : installed.members) {
      const bool contributes = round > Round(0) || member == installed.members.front();
      if (!contributes) continue;
      state.core.Step(core::ContributeBlock{member, installed.generation, round, kBlock, 1}, kNow, done);
    }
    state.core.Step(core::BlockReduced{kBlock}, kNow, done);
    state.core.Step(core::RoundJournaled{installed.generation, round}, kNow, done);
  }
  state.members = installed.members;
  state.may_serve = true;
}

// ---- What no message can change any more ----

bool ShardAutomaton::IsPast(uint32_t state, const Content& message) const {
  const ShardState& shard = states_[state];
  const core::ShardCore& core = shard.core;
  // Once sealed, a shard serves nothing before a newer generation, in this life and the next.
  const auto late = [&](Generation generation) {
    return generation < core.generation() || (generation == core.generation() && !core.serving());
  };
  return std::visit(
      Overloaded{[&](const core::SealShard& seal) {
                   return seal.to != core.incarnation() || seal.generation <= core.generation();
                 },
                 [&](const core::InstallGeneration& install) {
                   return install.to != core.incarnation() || install.generation <= core.generation();
                 },
                 [&](const core::AttachWorker& attach) { return late(attach.generation); },
                 // One that has been taken, or is for an earlier round, will not be taken again in its generation.
                 [&](const Contribution& c) { return c.event.generation <= core.generation(); },
                 [](const auto&) { return true; }},
      message);
}

// ---- Effects ----

void ShardAutomaton::Expect(bool holds, Taking& taking, const std::string& what) {
  if (holds || !taking.outcome.violation.empty()) return;
  taking.outcome.violation =
      absl::StrCat("shard with incarnation ", taking.state.core.incarnation().value(), " ", what);
}

void ShardAutomaton::Send(Place to, Content content, Taking& taking) {
  taking.outcome.sent.push_back(context_.messages.Intern(to, std::move(content)));
}

void ShardAutomaton::Do(const core::KeepPayload& effect, Taking& taking) {
  Expect(taking.state.may_serve, taking, "takes a contribution before it has been given an install (rule a)");
  const Contribution& contribution = *taking.contribution;
  Expect(contribution.event.who.rank == effect.rank, taking, "keeps a payload that is not there");
  taking.state.kept.push_back({contribution.event.who, contribution.on});
  std::sort(taking.state.kept.begin(), taking.state.kept.end(),
            [](const auto& a, const auto& b) { return a.who < b.who; });
}

void ShardAutomaton::Do(const core::RejectConnection& effect, Taking& taking) {
  // "Attach again": a shard that has lost its newest install is behind its workers.
  const bool behind = context_.options.power_loss || !context_.options.check_rule_b;
  Expect(behind && absl::IsFailedPrecondition(effect.status), taking,
         absl::StrCat("rejects a worker that does nothing wrong: ", effect.status.message()));
}

void ShardAutomaton::Do(const core::SumGroup&, Taking& taking) {
  Expect(false, taking, "sums a group, but there is only one");
}

void ShardAutomaton::Do(const core::ReduceBlock& effect, Taking& taking) {
  ShardState& state = taking.state;
  Expect(state.may_serve, taking, "reduces before it has been given an install (rule a)");
  std::vector<Rank> ranks;
  for (const core::Weighted& who : effect.contributors) ranks.push_back(who.rank);
  std::vector<Rank> kept;
  for (const ShardState::Kept& one : state.kept) {
    kept.push_back(one.who.rank);
    Expect(one.on == state.newest, taking,
           absl::StrCat("reduces a gradient that rank ", one.who.rank.value(), " computed from another history, ",
                        context_.values.Text(one.on), "; expected ", context_.values.Text(state.newest), " (G1)"));
  }
  const std::vector<Rank> expected =
      effect.round == Round(0) ? std::vector<Rank>{Rank(0)} : std::vector<Rank>{Rank(0), Rank(1)};
  Expect(ranks == expected && kept == expected, taking, "reduces a round from the wrong set of ranks (G2)");
  state.reducing = true;
}

void ShardAutomaton::Do(const core::JournalRound& effect, Taking& taking) {
  Expect(taking.state.may_serve, taking, "completes a round before it has been given an install (rule a)");
  Expect(effect.participants == RanksOf(context_.values[taking.state.block].contributors), taking,
         "journals other participants than it has reduced (G2)");
  taking.state.writing = effect;
}

void ShardAutomaton::Do(const core::JournalInstall& effect, Taking& taking) { taking.state.writing = effect; }

ValueId ShardAutomaton::ValueOf(Version version, Taking& taking) const {
  const ShardState& state = taking.state;
  const bool newest = version.next() == context_.values.Next(state.newest);
  const ValueId value = newest ? state.newest : state.block;
  Expect(value != kNoValue && context_.values[value].version == version, taking,
         absl::StrCat("sends version ", version.value(), ", which it does not have"));
  return value;
}

void ShardAutomaton::Do(const core::SendBlock& effect, Taking& taking) {
  Expect(taking.state.may_serve, taking, "sends a block before it has been given an install (rule a)");
  const ValueId value = ValueOf(effect.version, taking);
  for (const core::Destination& to : effect.to) {
    const Member& who = taking.state.members[to.rank.value()];
    Send(PlaceOf(who), Parameters{{index_, effect.generation, effect.version, effect.slot}, value}, taking);
  }
}

void ShardAutomaton::Do(const core::SendComplete& effect, Taking& taking) {
  Expect(taking.state.may_serve, taking, "says complete before it has been given an install (rule a)");
  const ValueId value = taking.state.on_disk;
  Expect(
      value != kNoValue && context_.values[value].version == effect.version, taking,
      absl::StrCat("says that version ", effect.version.value(), " is complete, but its disk does not have it (G5)"));
  if (value == kNoValue) return;
  Expect(RanksOf(context_.values[value].contributors) == effect.participants &&
             context_.values[value].completed_in == effect.completed_in,
         taking, "tells another history of a version than it has (G2)");
  for (const core::Destination& to : effect.to) {
    const Member& who = taking.state.members[to.rank.value()];
    Send(PlaceOf(who),
         client::CompleteArrived{index_, effect.generation, effect.version, effect.completed_in, effect.participants},
         taking);
  }
}

void ShardAutomaton::Do(const core::CommitVersion& effect, Taking& taking) {
  Expect(effect.version.next() == taking.state.core.next_round(), taking, "commits a version that it does not have");
}

void ShardAutomaton::Do(const core::UndoBlocks&, Taking& taking) { taking.state.block = kNoValue; }

void ShardAutomaton::Do(const core::DropContributions&, Taking& taking) {
  // Those that are being reduced have been taken out.
  if (!taking.state.reducing) taking.state.kept.clear();
}

void ShardAutomaton::Do(const core::AnswerSealed& effect, Taking& taking) {
  core::ShardSealed answer{.shard = index_,
                           .incarnation = taking.state.core.incarnation(),
                           .generation = effect.generation,
                           .has = effect.has};
  if (!context_.options.rules.compare_generations)
    answer.has.completed_in = answer.has.completed_in_before = Generation(0);
  Send(kCoordinator, std::move(answer), taking);
}

void ShardAutomaton::Do(const core::AnswerInstalled& effect, Taking& taking) {
  Send(kCoordinator,
       core::ShardInstalled{index_, taking.state.core.incarnation(), effect.generation,
                            std::string(effect.status.message())},
       taking);
}

}  // namespace lockstep::exploration
