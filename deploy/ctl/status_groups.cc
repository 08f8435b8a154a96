#include "deploy/ctl/status_groups.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "deploy/ctl/words.h"

namespace lockstep::ctl {
namespace {

bool IsShard(const v1::WaitingFor& waiting) { return waiting.who_case() == v1::WaitingFor::kShardIndex; }

bool Fits(const WaitingGroup& group, const v1::WaitingFor& waiting, const std::string& missing) {
  return group.shards == IsShard(waiting) && group.missing == missing &&
         group.entries.front()->reason() == waiting.reason();
}

void AddWaiting(const v1::WaitingFor& waiting, std::vector<WaitingGroup>& groups) {
  const std::string missing = FormatMissing(waiting.missing());
  auto group =
      std::find_if(groups.begin(), groups.end(), [&](const WaitingGroup& g) { return Fits(g, waiting, missing); });
  if (group == groups.end()) {
    groups.push_back({.shards = IsShard(waiting), .entries = {}, .missing = missing});
    group = groups.end() - 1;
  }
  group->entries.push_back(&waiting);
  group->since_seconds = std::max(group->since_seconds, waiting.since_seconds());
}

}  // namespace

std::vector<uint32_t> WaitingGroup::Numbers() const {
  std::vector<uint32_t> numbers;
  for (const v1::WaitingFor* entry : entries) {
    numbers.push_back(shards ? entry->shard_index() : entry->rank());
  }
  return numbers;
}

std::string WaitingGroup::Who() const {
  const std::string numbers = FormatRanges(shards ? "shard" : "rank", Numbers());
  const std::string& name = entries.front()->name();
  return entries.size() > 1 || name.empty() ? numbers : absl::StrCat(numbers, " (", name, ")");
}

bool BlamesTheLast(const v1::Status& status, int index) {
  const v1::RoundRecord& round = status.rounds(index);
  if (round.participants_size() < 2) return false;
  const int before = index + 1;  // the newest comes first
  return before >= status.rounds_size() || status.rounds(before).generation() == round.generation();
}

std::vector<WaitingGroup> GroupWaiting(const v1::Status& status) {
  std::vector<WaitingGroup> groups;
  for (const v1::WaitingFor& waiting : status.waiting_for()) AddWaiting(waiting, groups);
  std::stable_sort(groups.begin(), groups.end(),
                   [](const auto& a, const auto& b) { return a.since_seconds > b.since_seconds; });
  return groups;
}

std::vector<WorkerGroup> GroupWorkers(const v1::Status& status) {
  std::vector<WorkerGroup> groups;
  for (const v1::WorkerStatus& worker : status.workers()) {
    auto group =
        std::find_if(groups.begin(), groups.end(), [&](const WorkerGroup& g) { return g.state == worker.state(); });
    if (group == groups.end()) group = groups.insert(groups.end(), {worker.state(), {}});
    group->workers.push_back(&worker);
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const auto& a, const auto& b) { return a.workers.size() > b.workers.size(); });
  return groups;
}

std::string ShardGroup::Versions() const {
  uint64_t lowest = UINT64_MAX;
  uint64_t highest = 0;
  double age = 0;
  for (const v1::ShardStatus* shard : shards) {
    if (!shard->has_version()) continue;
    lowest = std::min<uint64_t>(lowest, shard->version());
    highest = std::max<uint64_t>(highest, shard->version());
    age = std::max(age, shard->report_age_seconds());
  }
  if (lowest > highest) return "";
  if (lowest == highest) return absl::StrCat("version ", lowest);
  return absl::StrCat("version ", lowest, " or later, last reports up to ", FormatSeconds(age), " old");
}

std::vector<ShardGroup> GroupShards(const v1::Status& status) {
  std::vector<ShardGroup> groups;
  for (const v1::ShardStatus& shard : status.shards()) {
    auto group =
        std::find_if(groups.begin(), groups.end(), [&](const ShardGroup& g) { return g.state == shard.state(); });
    if (group == groups.end()) group = groups.insert(groups.end(), {shard.state(), {}});
    group->shards.push_back(&shard);
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const auto& a, const auto& b) { return a.shards.size() > b.shards.size(); });
  return groups;
}

}  // namespace lockstep::ctl
