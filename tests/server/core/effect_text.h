// The effects of the cores as text that a person can check by eye: for golden traces and the messages of failed tests.
#ifndef LOCKSTEP_TESTS_SERVER_CORE_EFFECT_TEXT_H_
#define LOCKSTEP_TESTS_SERVER_CORE_EFFECT_TEXT_H_

#include <string>
#include <vector>

#include "server/core/coordinator.h"
#include "server/core/shard.h"

namespace lockstep::core {

// One line, e.g. "reduce block 0 of round 1 from ranks 0 (weight 2), 1 (weight 3)".
std::string ToText(const ShardEffect& effect);
std::string ToText(const CoordinatorEffect& effect);

// A line for each, in order.
std::vector<std::string> ToText(const ShardEffects& effects);
std::vector<std::string> ToText(const CoordinatorEffects& effects);

}  // namespace lockstep::core

#endif  // LOCKSTEP_TESTS_SERVER_CORE_EFFECT_TEXT_H_
