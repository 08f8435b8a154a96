#include "tests/sim/exploration/automaton.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace lockstep::exploration {

const Outcome& Automaton::TakeOnce(uint32_t state, Action action) {
  const uint64_t key = uint64_t{state} << 24 | uint64_t{static_cast<uint8_t>(action.kind)} << 16 | action.argument;
  if (const auto at = outcomes_.find(key); at != outcomes_.end()) return at->second;
  Outcome outcome = Take(state, action);
  outcome.action = action;
  return outcomes_.try_emplace(key, std::move(outcome)).first->second;
}

bool Automaton::IsDead(uint32_t state, MessageId message) {
  if (!IsPast(state, context_.messages[message].content)) return false;
  const Outcome& outcome = TakeOnce(state, {ActionKind::kDeliver, message});
  return outcome.next == state && outcome.sent.empty() && outcome.violation.empty() && !outcome.beyond;
}

uint32_t Automaton::FindLocal(uint32_t state, Inbox inbox) {
  inbox.erase(std::remove_if(inbox.begin(), inbox.end(), [&](MessageId m) { return IsDead(state, m); }), inbox.end());
  const auto [at, is_new] =
      local_ids_.try_emplace(std::make_pair(state, std::move(inbox)), static_cast<uint32_t>(locals_.size()));
  if (is_new) locals_.push_back({.state = state, .inbox = at->first.second, .expanded = false, .steps = {}});
  return at->second;
}

uint32_t Automaton::Receive(uint32_t local, MessageId message) {
  const uint64_t key = uint64_t{local} << 16 | message;
  if (const auto at = received_.find(key); at != received_.end()) return at->second;
  Inbox inbox = locals_[local].inbox;
  const auto at = std::lower_bound(inbox.begin(), inbox.end(), message);
  if (at == inbox.end() || *at != message) inbox.insert(at, message);
  const uint32_t next = FindLocal(locals_[local].state, std::move(inbox));
  received_.emplace(key, next);
  return next;
}

void Automaton::AddStep(uint32_t local, Action action) {
  const uint32_t state = locals_[local].state;
  const Outcome& outcome = TakeOnce(state, action);
  const bool nothing = outcome.next == state && outcome.sent.empty() && outcome.violation.empty() && !outcome.beyond;
  if (nothing) return;
  const uint32_t next = outcome.next == state ? local : FindLocal(outcome.next, locals_[local].inbox);
  locals_[local].steps.push_back({&outcome, next});
}

const std::vector<Automaton::Step>& Automaton::Steps(uint32_t local) {
  if (!std::exchange(locals_[local].expanded, true)) {
    const uint32_t state = locals_[local].state;
    const Inbox inbox = locals_[local].inbox;
    for (const MessageId message : inbox) {
      if (IsHeldBack(state, context_.messages[message].content)) continue;
      AddStep(local, {ActionKind::kDeliver, message});
    }
    for (const Action action : OwnActions(state)) AddStep(local, action);
  }
  return locals_[local].steps;
}

std::string Automaton::Text(Place place, const Action& action) const {
  const std::string name = NameOf(place);
  switch (action.kind) {
    case ActionKind::kDeliver:
      return absl::StrCat(name, " hears: ", context_.messages[action.argument].text);
    case ActionKind::kReduce:
      return name + " has reduced its block";
    case ActionKind::kJournal:
      return name + "'s journal has it";
    case ActionKind::kReconnect:
      return absl::StrCat(name, " reconnects to shard ", action.argument);
    case ActionKind::kDetach:
      return absl::StrCat(name, " notices that the stream of rank ", action.argument, " has ended");
    case ActionKind::kCrash:
      return name + " crashes and comes back";
    case ActionKind::kCrashWithJournal:
      return name + " crashes just after its journal had it, and comes back";
    case ActionKind::kPowerLoss:
      return absl::StrCat(name, " loses power, comes back, and its journal lacks the newest ", action.argument,
                          action.argument == 1 ? " record" : " records");
  }
  return name;
}

}  // namespace lockstep::exploration
