#include "tests/sim/oracle.h"

#include <optional>

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

// The weighted mean of all ranks' blocks: groups of eight in rank order, then the groups in order. Absent: no weight at
// all, the round changes nothing.
std::optional<std::vector<float>> MeanGradient(const Plan& plan, Round round, ShardIndex shard, Slot slot,
                                               const std::vector<float>& parameters) {
  std::optional<std::vector<float>> sum;
  float total = 0;
  for (uint32_t first = 0; first < plan.workers; first += 8) {
    std::optional<std::vector<float>> group;
    for (uint32_t r = first; r < first + 8 && r < plan.workers; ++r) {
      const float weight = WeightOf(plan, Rank(r), round);
      if (weight == 0) continue;
      total += weight;
      std::vector<float> block = BlockOf(plan, Rank(r), round, shard, slot, parameters);
      for (float& value : block) value *= weight;
      Add(group, block);
    }
    if (group) Add(sum, *group);
  }
  if (!sum) return std::nullopt;
  for (float& value : *sum) value /= total;
  return sum;
}

}  // namespace

Oracle::Oracle(const Plan& plan) : first_{Rank(0)} {
  for (uint32_t r = 0; r < plan.workers; ++r) all_.push_back(Rank(r));
  versions_.resize(plan.rounds + 1, Model(plan.shards()));
  for (uint32_t s = 0; s < plan.shards(); ++s) {
    for (uint32_t b = 0; b < plan.elements[s].size(); ++b) {
      std::vector<float> parameters = BlockOf(plan, Rank(0), Round(0), ShardIndex(s), Slot(b), {});
      std::vector<float> velocity(parameters.size(), 0.0f);
      versions_[0][s].push_back(parameters);
      for (uint64_t round = 1; round <= plan.rounds; ++round) {
        const std::optional<std::vector<float>> gradient =
            MeanGradient(plan, Round(round), ShardIndex(s), Slot(b), parameters);
        for (size_t i = 0; gradient && i < parameters.size(); ++i) {
          velocity[i] = kMomentum * velocity[i] + (*gradient)[i];
          parameters[i] -= kLearningRate * velocity[i];
        }
        versions_[round][s].push_back(parameters);
      }
    }
  }
}

}  // namespace lockstep::sim
