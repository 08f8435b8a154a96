#ifndef LOCKSTEP_TESTS_SERVER_COMPUTE_REDUCE_ORACLE_H_
#define LOCKSTEP_TESTS_SERVER_COMPUTE_REDUCE_ORACLE_H_

#include <cstdint>
#include <map>

namespace lockstep::compute {

// The tree sum of one element, the slow and obvious way. `terms` maps each rank that is present to
// its weight times its value.
inline float OracleTreeSum(std::map<uint32_t, float> terms) {
  while (terms.size() > 1) {
    std::map<uint32_t, float> nodes;
    for (const auto& [index, value] : terms) {
      const auto [node, is_first] = nodes.try_emplace(index / 8, value);
      if (!is_first) {
        node->second = node->second + value;
      }
    }
    terms = nodes;
  }
  return terms.empty() ? 0.0f : terms.begin()->second;
}

}  // namespace lockstep::compute

#endif  // LOCKSTEP_TESTS_SERVER_COMPUTE_REDUCE_ORACLE_H_
