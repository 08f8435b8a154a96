// The dumb reference: one process, one loop, no messages. Whatever happens to the cluster, its versions must have these
// bits.
#ifndef LOCKSTEP_TESTS_SIM_ORACLE_H_
#define LOCKSTEP_TESTS_SIM_ORACLE_H_

#include <vector>

#include "common/ids.h"
#include "tests/sim/plan.h"

namespace lockstep::sim {

// The optimizer of every run: SGD with momentum, so that folding a gradient twice, or never, is seen in the bits.
inline constexpr float kLearningRate = 0.125f;
inline constexpr float kMomentum = 0.875f;

class Oracle {
 public:
  explicit Oracle(const Plan& plan);

  const std::vector<float>& Parameters(Version version, ShardIndex shard, Slot slot) const {
    return versions_[version.value()][shard.value()][slot.value()];
  }
  // Ascending. Version 0 comes from rank 0 alone.
  const std::vector<Rank>& Participants(Version version) const { return version == Version(0) ? first_ : all_; }

 private:
  using Model = std::vector<std::vector<std::vector<float>>>;  // [shard][slot][element]

  std::vector<Model> versions_;
  std::vector<Rank> first_;
  std::vector<Rank> all_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_ORACLE_H_
