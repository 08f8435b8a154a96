// All that decides what a core does next, as bytes: two cores with the same bytes are the same state.
//
// Left out are what only counts or measures (duplicates, times of the last round), and times but for "never" and "not
// yet". Each member is named in a structured binding, so that a member that is added to a core does not compile here
// until somebody has decided whether it is part of the state.
//
// Thread-safety: pure functions.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_CORE_STATE_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_CORE_STATE_H_

#include <string>

#include "server/core/coordinator.h"
#include "server/core/shard.h"
#include "worker/client/session.h"

namespace lockstep::core {

class StateReader {
 public:
  static void Append(const ShardCore& core, std::string& bytes);
  static void Append(const ShardMemory& memory, std::string& bytes);
  static void Append(const CoordinatorCore& core, std::string& bytes);
};

}  // namespace lockstep::core

namespace lockstep::client {

class StateReader {
 public:
  static void Append(const SessionCore& core, std::string& bytes);
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_CORE_STATE_H_
