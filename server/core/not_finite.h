// What the run does about a NaN or an infinity: names for it, and words.
//
//   shard finds one --> ShardRefuses --> kFail: the run ends, and says who and where
//                                    `-> kDrop: that rank counts as empty in that round, on all shards: the round is
//                                               collected again in a new generation that says so
//
// Thread-safety: values and pure functions.
#ifndef LOCKSTEP_SERVER_CORE_NOT_FINITE_H_
#define LOCKSTEP_SERVER_CORE_NOT_FINITE_H_

#include <cstdint>
#include <string>

#include "common/ids.h"

namespace lockstep::core {

// What becomes of a round with a NaN or an infinity in it.
enum class NanPolicy {
  kFail,   // the run ends
  kDrop,   // the contribution of the rank that brought it counts as empty
  kAllow,  // it goes into the model
};

// A NaN or an infinity that a shard has found in a round, which is not counted then.
struct FoundNotFinite {
  enum class In {
    kContribution,  // of `rank`; round 0: in the initial values that it brought
    kSum,           // all contributions are finite, but their sum is not
    kUpdate,        // the sum is finite, but the optimizer's step is not
  };
  In in = In::kContribution;
  Round round;
  Rank rank = Rank(0);  // kContribution only
  std::string tensor = "";
  uint64_t index = 0;  // of the element in the tensor, row-major
  float value = 0;
  friend bool operator==(const FoundNotFinite& a, const FoundNotFinite& b) {
    return a.in == b.in && a.round == b.round && a.rank == b.rank && a.tensor == b.tensor && a.index == b.index;
  }
};

// A rank counts as empty in this round, whoever holds it and however often the round is collected.
struct Exclusion {
  Round round;
  Rank rank;
  std::string why;  // for people
  friend bool operator==(const Exclusion&, const Exclusion&) = default;
};

// Somebody's contribution is bad, and the round can do without it. (Nothing can do without initial values.)
bool CanDrop(const FoundNotFinite& found);

// "round 12: rank 3 (worker 'w3') contributed nan at element 17 of tensor 'fc1.weight'". `name`: of the rank's worker.
std::string Describe(const FoundNotFinite& found, const std::string& name);

}  // namespace lockstep::core

#endif  // LOCKSTEP_SERVER_CORE_NOT_FINITE_H_
