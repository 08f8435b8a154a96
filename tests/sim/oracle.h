// The dumb reference: one process, one loop, no messages. Whatever happens to the cluster, its versions must have these
// bits.
//
// Who makes a version is the cluster's to decide (round policies, workers that come and go): the oracle is told, holds
// the cluster to it, and makes the same version of the same contributions.
//
// A run that is rolled back has another history from there on: generations before belong to the abandoned one, which is
// kept, so that what is still said of it can be checked, too. Every version has one set of participants and one value
// in each history.
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
  std::optional<std::string> Make(Generation generation, Version version, const std::vector<Rank>& participants);
  // A worker that knows this generation holds the version.
  void NoteHeld(Generation generation, Version version);
  // The run goes back to version `to`; what generation `began` and later ones make is another history. `replaces`: of
  // the newest history nobody has been told, so that this one takes its place. What is wrong with that, if anything.
  std::optional<std::string> RollBack(Generation began, Version to, bool replaces);

  // Of a version that was made in the history of that generation; empty otherwise.
  const std::vector<float>& Parameters(Generation generation, Version version, ShardIndex shard, Slot slot) const;
  const std::vector<Rank>& Participants(Generation generation, Version version) const;
  // The newest version that any worker has held in the history of that generation; absent: none.
  const std::optional<Version>& Held(Generation generation) const { return Of(generation).held; }
  // The newest version that was ever held in any history.
  std::optional<Version> EverHeld() const;
  // The first generation of the newest history; 0: the run has never gone back.
  Generation began() const { return histories_.back().began; }
  // Whether the version is the same one in the histories of both generations; the first is not newer.
  bool SameVersion(Version version, Generation older, Generation newer) const;
  // How often a version was made again of others.
  uint64_t remade() const { return remade_; }

 private:
  using Values = std::vector<std::vector<std::vector<float>>>;  // [shard][slot][element]
  struct Made {
    std::vector<Rank> participants;
    Values parameters;
    Values velocity;
  };
  struct History {
    Generation began;
    std::optional<Version> from;  // where it branches off; absent: it is the first one
    std::vector<Made> versions;
    std::optional<Version> held;
  };

  const History& Of(Generation generation) const;
  History& Of(Generation generation) { return const_cast<History&>(std::as_const(*this).Of(generation)); }

  Made MakeFrom(const Made* before, Version version, const std::vector<Rank>& participants) const;

  const Plan& plan_;
  std::vector<History> histories_ = {{}};
  std::map<std::pair<Generation, Version>, std::vector<Rank>> sets_;
  uint64_t remade_ = 0;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_ORACLE_H_
