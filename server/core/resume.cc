#include "server/core/resume.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/mutation.h"

namespace lockstep::core {
namespace {

using Shards = std::vector<SealedShard>;

// Why the histories of the shards prove that one came back without what it had; empty if they do not. A shard whose
// journal has lost its newest records (power was lost, and nothing was synced) may come back with a version that had
// been undone, and completed in a newer generation.
std::string AnotherHistory(const Shards& shards, Round resume) {
  const auto stuck =
      std::find_if(shards.begin(), shards.end(), [&](const auto& at) { return at.next > resume && at.committed; });
  if (stuck != shards.end()) {
    const auto other = std::find_if(shards.begin(), shards.end(), [&](const auto& at) {
      return at.next != stuck->next || at.completed_in != stuck->completed_in;
    });
    return absl::StrCat("shard ", other - shards.begin(), " has lost its memory: version ", stuck->next.value() - 1,
                        " is committed in generation ", stuck->completed_in.value(), " (shard ", stuck - shards.begin(),
                        "), but it does not have it");
  }
  const auto completed_in = [&](const SealedShard& at) {
    return at.next == resume ? at.completed_in : at.completed_in_before;
  };
  const auto [oldest, newest] = std::minmax_element(
      shards.begin(), shards.end(), [&](const auto& a, const auto& b) { return completed_in(a) < completed_in(b); });
  if (completed_in(*oldest) == completed_in(*newest)) return "";
  return absl::StrCat("shard ", oldest - shards.begin(), " has lost its memory: its version ", resume.value() - 1,
                      " is from generation ", completed_in(*oldest).value(), ", but shard ", newest - shards.begin(),
                      " has it from generation ", completed_in(*newest).value());
}

// Why the run cannot go on at `resume`, which is what the shards allow; empty: it can. `newest`: of their `next`.
std::string LostMemory(const Shards& shards, const ResumeKnowledge& known, Round resume, Round newest) {
  for (size_t s = 0; s < shards.size(); ++s) {
    const Round next = shards[s].next;
    const bool empty = known.announced && shards[s].blank;      // workers may have held a version of it
    const bool behind = next.value() + 1 < newest.value();      // nobody starts round c + 2 before c + 1 is complete
    const bool undone = next == resume && resume < known.told;  // it had been told to resume later than that
    if (!empty && !behind && !undone) continue;
    const std::string& damage = shards[s].damage;
    return absl::StrCat("shard ", s, " has lost its memory: it is ready for round ", next.value(),
                        ", but the run had come to round ", std::max(newest, known.told).value(),
                        damage.empty() ? "" : absl::StrCat(" (", damage, ")"));
  }
  return resume == Round(0) ? "" : AnotherHistory(shards, resume);
}

// Workers have learnt of no version yet, and some shard lacks the one that the run begins with.
bool BeginsAnew(const Shards& shards, const ResumeKnowledge& known) {
  if (!known.begins_with || known.announced) return false;
  return std::any_of(shards.begin(), shards.end(),
                     [&](const auto& at) { return at.blank || at.next != known.begins_with->next(); });
}

bool IsAbandoned(const RestorableVersion& checkpoint, const std::vector<Abandoned>& abandoned) {
  return !Mutated(Mutation::kTakeAbandoned) &&
         std::any_of(abandoned.begin(), abandoned.end(), [&](const Abandoned& history) {
           return checkpoint.completed_in < history.before && checkpoint.version > history.after;
         });
}

}  // namespace

ResumePoint DecideResume(const Shards& shards, const ResumeKnowledge& known) {
  if (BeginsAnew(shards, known)) return {.resume = known.begins_with->next(), .at_beginning = true};
  const auto [low, high] =
      std::minmax_element(shards.begin(), shards.end(), [](const auto& a, const auto& b) { return a.next < b.next; });
  const Round newest = high->next;
  Round resume = low->next;
  const auto same = [&](const SealedShard& at) { return at.completed_in == low->completed_in; };
  const bool undone = newest == resume && !std::all_of(shards.begin(), shards.end(), same);
  if (undone && resume > Round(0)) resume = resume.previous();
  if (Mutated(Mutation::kResumeAtNewest)) resume = newest;
  return {.resume = resume, .lost = LostMemory(shards, known, resume, newest)};
}

std::optional<RestorableVersion> DecideRollback(const std::vector<std::vector<RestorableVersion>>& lists,
                                                const std::vector<Abandoned>& abandoned) {
  std::optional<RestorableVersion> newest;
  if (lists.empty()) return newest;
  for (const RestorableVersion& candidate : lists[0]) {
    const bool everywhere = std::all_of(lists.begin(), lists.end(), [&](const auto& list) {
      return std::find(list.begin(), list.end(), candidate) != list.end();
    });
    const bool better = !newest || (candidate > *newest) != Mutated(Mutation::kRollBackTooFar);
    if (everywhere && better && !IsAbandoned(candidate, abandoned)) newest = candidate;
  }
  return newest;
}

}  // namespace lockstep::core
