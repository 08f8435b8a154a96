#include "tests/sim/oracle.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "tests/sim/payload.h"

namespace lockstep::sim {
namespace {

void Add(std::optional<std::vector<float>>& sum, const std::vector<float>& values) {
  if (!sum) {
    sum = values;
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) (*sum)[i] += values[i];
}

// The weighted mean of the ranks' blocks: groups of eight in rank order, then the groups in order. Absent: no weight at
// all, the round changes nothing.
std::optional<std::vector<float>> MeanGradient(const Plan& plan, const std::vector<Rank>& ranks, Round round,
                                               ShardIndex shard, Slot slot, const std::vector<float>& parameters) {
  std::optional<std::vector<float>> sum;
  std::optional<std::vector<float>> group;
  float total = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (const float weight = WeightOf(plan, ranks[i], round); weight > 0) {
      total += weight;
      std::vector<float> block = BlockOf(plan, ranks[i], round, shard, slot, parameters);
      for (float& value : block) value *= weight;
      Add(group, block);
    }
    const bool last_of_group = i + 1 == ranks.size() || ranks[i + 1].value() / 8 != ranks[i].value() / 8;
    if (!last_of_group || !group) continue;
    Add(sum, *group);
    group.reset();
  }
  if (!sum) return std::nullopt;
  for (float& value : *sum) value /= total;
  return sum;
}

}  // namespace

const Oracle::History& Oracle::Of(Generation generation) const {
  for (size_t h = histories_.size(); h-- > 1;) {
    if (histories_[h].began <= generation) return histories_[h];
  }
  return histories_[0];
}

std::optional<std::string> Oracle::Make(Generation generation, Version version, const std::vector<Rank>& participants) {
  const auto [at, is_new] = sets_.try_emplace({generation, version}, participants);
  if (!is_new && at->second != participants) {
    return absl::StrCat("shards make version ", version.value(), " of different sets of ranks (G2)");
  }
  History& history = Of(generation);
  std::vector<Made>& versions = history.versions;
  const uint64_t index = version.value();
  if (index < versions.size() && versions[index].participants == participants) return std::nullopt;
  if (index > versions.size()) return absl::StrCat("version ", index, " is made before the one before it (G1)");
  if (index < versions.size()) {
    if (history.held && version <= *history.held) {
      return absl::StrCat("version ", index, " was held, and is made again of other ranks (G1, G2)");
    }
    versions.resize(index);
    ++remade_;
  }
  versions.push_back(MakeFrom(index == 0 ? nullptr : &versions[index - 1], version, participants));
  return std::nullopt;
}

void Oracle::NoteHeld(Generation generation, Version version) {
  std::optional<Version>& held = Of(generation).held;
  if (!held || *held < version) held = version;
}

std::optional<std::string> Oracle::RollBack(Generation began, Version to, bool replaces) {
  if (replaces) histories_.pop_back();
  const History& before = histories_.back();
  if (to.value() >= before.versions.size()) {
    return absl::StrCat("the run goes back to version ", to.value(), ", which it has never made (G5)");
  }
  History history{.began = began, .from = to, .versions = {}, .held = before.held};
  history.versions.assign(before.versions.begin(), before.versions.begin() + static_cast<ptrdiff_t>(to.value() + 1));
  if (history.held && *history.held > to) history.held = to;
  histories_.push_back(std::move(history));
  return std::nullopt;
}

std::optional<Version> Oracle::EverHeld() const {
  std::optional<Version> newest;
  for (const History& history : histories_) newest = std::max(newest, history.held);
  return newest;
}

bool Oracle::SameVersion(Version version, Generation older, Generation newer) const {
  return std::none_of(histories_.begin(), histories_.end(), [&](const History& history) {
    return history.from && older < history.began && history.began <= newer && version > *history.from;
  });
}

Oracle::Made Oracle::MakeFrom(const Made* before, Version version, const std::vector<Rank>& participants) const {
  Made made{.participants = participants, .parameters = {}, .velocity = {}};
  if (before != nullptr) {
    made.parameters = before->parameters;
    made.velocity = before->velocity;
  } else {
    made.parameters.resize(plan_.shards());
    made.velocity.resize(plan_.shards());
  }
  for (uint32_t s = 0; s < plan_.shards(); ++s) {
    for (uint32_t b = 0; b < plan_.elements[s].size(); ++b) {
      if (before == nullptr) {
        made.parameters[s].push_back(BlockOf(plan_, Rank(0), version, ShardIndex(s), Slot(b), {}));
        made.velocity[s].emplace_back(plan_.elements[s][b], 0.0f);
        continue;
      }
      std::vector<float>& parameters = made.parameters[s][b];
      std::vector<float>& velocity = made.velocity[s][b];
      const std::optional<std::vector<float>> gradient =
          MeanGradient(plan_, participants, version, ShardIndex(s), Slot(b), parameters);
      for (size_t i = 0; gradient && i < parameters.size(); ++i) {
        velocity[i] = kMomentum * velocity[i] + (*gradient)[i];
        parameters[i] -= kLearningRate * velocity[i];
      }
    }
  }
  return made;
}

const std::vector<float>& Oracle::Parameters(Generation generation, Version version, ShardIndex shard,
                                             Slot slot) const {
  static const std::vector<float> none;
  const std::vector<Made>& versions = Of(generation).versions;
  return version.value() < versions.size() ? versions[version.value()].parameters[shard.value()][slot.value()] : none;
}

const std::vector<Rank>& Oracle::Participants(Generation generation, Version version) const {
  static const std::vector<Rank> none;
  const std::vector<Made>& versions = Of(generation).versions;
  return version.value() < versions.size() ? versions[version.value()].participants : none;
}

}  // namespace lockstep::sim
