#include "tests/sim/payload.h"

#include "tests/sim/random.h"

namespace lockstep::sim {
namespace {

// About -8..8, with all bits of the mantissa in use.
float SmallFloat(uint64_t bits) { return (static_cast<float>(bits >> 40) - 8388608.0f) / 1048573.0f; }

}  // namespace

float WeightOf(const Plan& plan, Rank rank, Round round) {
  if (round == Round(0)) return 1;
  const uint64_t bits = Mix({plan.seed, 3, rank.value(), round.value()});
  return bits % 1000 < plan.zero_weight ? 0 : static_cast<float>(1 + (bits >> 32) % 32);
}

bool BringsPayload(const Plan& plan, Rank rank, Round round) {
  return WeightOf(plan, rank, round) > 0 || Mix({plan.seed, 4, rank.value(), round.value()}) % 2 == 0;
}

std::vector<float> BlockOf(const Plan& plan, Rank rank, Round round, ShardIndex shard, Slot slot,
                           const std::vector<float>& parameters) {
  std::vector<float> values(plan.elements[shard.value()][slot.value()]);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t who = round == Round(0) ? 0 : rank.value();
    values[i] = SmallFloat(Mix({plan.seed, 5, who, round.value(), shard.value(), slot.value(), i}));
    if (round > Round(0)) values[i] += 0.3f * parameters[i];
  }
  return values;
}

}  // namespace lockstep::sim
