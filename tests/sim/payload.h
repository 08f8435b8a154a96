// What workers contribute: pure functions of the seed, the rank, the round and the parameters that the worker holds, so
// that a replacement computes the same as the worker that it replaces.
#ifndef LOCKSTEP_TESTS_SIM_PAYLOAD_H_
#define LOCKSTEP_TESTS_SIM_PAYLOAD_H_

#include <vector>

#include "common/ids.h"
#include "tests/sim/plan.h"

namespace lockstep::sim {

// Of a rank's contribution to a round; 0 in some rounds.
float WeightOf(const Plan& plan, Rank rank, Round round);

// Whether a contribution of weight 0 comes with payloads all the same. They don't count.
bool BringsPayload(const Plan& plan, Rank rank, Round round);

// One block of the contribution. Round 0: the initial values, and `parameters` is not read.
std::vector<float> BlockOf(const Plan& plan, Rank rank, Round round, ShardIndex shard, Slot slot,
                           const std::vector<float>& parameters);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_PAYLOAD_H_
