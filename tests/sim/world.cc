#include "tests/sim/world.h"

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lockstep::sim {

void World::At(absl::Time when, std::function<void()> what) { queue_.push({when, planned_++, std::move(what)}); }

bool World::Step() {
  if (queue_.empty()) return false;
  // The top is const only to protect the order, which the moved-from function has no part in.
  auto what = std::move(const_cast<Planned&>(queue_.top()).what);
  now_ = queue_.top().when;
  queue_.pop();
  ++steps_;
  HashNumber(static_cast<uint64_t>(absl::ToUnixMicros(now_)));
  what();
  return true;
}

void World::Violate(std::string message) {
  if (violation_) return;
  if (trace_) Print(absl::StrCat("VIOLATION: ", message));
  violation_ = std::move(message);
}

void World::NoteMade(Generation generation, Version version, const std::vector<Rank>& participants) {
  const uint64_t remade = oracle_.remade();
  const std::optional<std::string> wrong = oracle_.Make(generation, version, participants);
  if (wrong) Violate(*wrong);
  if (!plan_.policy.decides() && version > Version(0)) {
    if (participants.size() < plan_.workers) Count(Occurrence::kSmallerVersion);
    if (participants.size() > plan_.workers) Count(Occurrence::kLargerVersion);
  }
  if (oracle_.remade() > remade) Count(Occurrence::kRemade);
}

void World::NoteRollback(Generation began, Version to, bool replaces) {
  const std::optional<std::string> wrong = oracle_.RollBack(began, to, replaces);
  if (wrong) Violate(*wrong);
}

void World::Print(absl::string_view line) const {
  absl::PrintF("%10.6f  %s\n", absl::ToDoubleSeconds(now_ - absl::UnixEpoch()), line);
}

}  // namespace lockstep::sim
