// One life of a worker: the real SessionCore, and the histories of what lies in the caller's memory in place of floats.
// It contributes to the next round as soon as it holds a version.
//
// Checked here: a version that it holds is the same on every shard, is the one that the session says, and comes from
// the participants that it is told; the session does not fail.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_WORKER_AUTOMATON_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_WORKER_AUTOMATON_H_

#include <array>
#include <string>
#include <vector>

#include "tests/sim/exploration/automaton.h"
#include "worker/client/session.h"

namespace lockstep::exploration {

struct WorkerState {
  client::SessionCore core;
  std::array<ValueId, kShards> stored = {};
  ValueId held = kNoValue;
  bool failed = false;  // loudly, because the servers have lost a version; only with power loss

  std::string Key() const;
};

class WorkerAutomaton final : public Automaton {
 public:
  WorkerAutomaton(Context& context, Member me);
  size_t states() const override { return states_.size(); }
  const WorkerState& Get(uint32_t state) const { return states_[state]; }

 protected:
  Outcome Take(uint32_t state, Action action) override;
  std::vector<Action> OwnActions(uint32_t state) const override;
  bool IsPast(uint32_t state, const Content& message) const override;

 private:
  struct Taking {
    WorkerState state;
    Outcome outcome;
    const Parameters* arrived = nullptr;
  };

  template <class Event>
  void Step(const Event& event, Taking& taking);
  static void Expect(bool holds, Taking& taking, const std::string& what);
  void Do(const client::SendAttach& effect, Taking& taking);
  void Do(const client::SendContribution& effect, Taking& taking);
  void Do(const client::StoreBlock& effect, Taking& taking);
  void Do(const client::VersionHeld& effect, Taking& taking);
  void Do(const client::SessionFailed& effect, Taking& taking);
  void Send(ShardIndex to, Content content, Taking& taking);

  const Member me_;
  StateTable<WorkerState> states_;
};

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_WORKER_AUTOMATON_H_
