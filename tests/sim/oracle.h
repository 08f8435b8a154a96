// The dumb reference: one process, one loop, no messages. Whatever happens to the cluster, its versions must have these
// bits.
//
// Who makes a version is the cluster's to decide (round policies, workers that come and go): the oracle is told, holds
// the cluster to it, and makes the same version of the same contributions.
#ifndef LOCKSTEP_TESTS_SIM_ORACLE_H_
#define LOCKSTEP_TESTS_SIM_ORACLE_H_

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "tests/sim/plan.h"

namespace lockstep::sim {

// The optimizer of every run: SGD with momentum, so that folding a gradient twice, or never, is seen in the bits.
inline constexpr float kLearningRate = 0.125f;
inline constexpr float kMomentum = 0.875f;

class Oracle {
 public:
  explicit Oracle(const Plan& plan) : plan_(plan) {}

  // A shard makes `version` of these ranks' contributions, ascending, in that generation. What is wrong with that, if
  // anything: G2 wants one set per version. In a later generation the version may be made again, of others, as long as
  // nobody has held it.
  std::optional<std::string> Make(Generation generation, Version version, const std::vector<Rank>& participants,
                                  const std::optional<Version>& newest_held);

  // Of a version that was made; empty otherwise.
  const std::vector<float>& Parameters(Version version, ShardIndex shard, Slot slot) const;
  const std::vector<Rank>& Participants(Version version) const;
  // How often a version was made again of others.
  uint64_t remade() const { return remade_; }

 private:
  using Values = std::vector<std::vector<std::vector<float>>>;  // [shard][slot][element]
  struct Made {
    std::vector<Rank> participants;
    Values parameters;
    Values velocity;
  };

  Made MakeFrom(const Made* before, Version version, const std::vector<Rank>& participants) const;

  const Plan& plan_;
  std::vector<Made> versions_;
  std::map<std::pair<Generation, Version>, std::vector<Rank>> sets_;
  uint64_t remade_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_ORACLE_H_
