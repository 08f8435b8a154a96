// The coordinator: the real CoordinatorCore. Its memory is durable at once: a coordinator that crashes before its disk
// has a step, has told nobody of it, so that the step might as well not have been taken.
//
// Every process's greeting may arrive again at any moment: a broken stream that was opened again. A shard's greeting
// starts a generation each time, until the bound.
//
// Checked here: the run does not fail.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_COORDINATOR_AUTOMATON_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_COORDINATOR_AUTOMATON_H_

#include <string>
#include <vector>

#include "server/core/coordinator.h"
#include "tests/sim/exploration/automaton.h"

namespace lockstep::exploration {

struct CoordinatorState {
  core::CoordinatorCore core;
  uint32_t life = 0;
  std::vector<Member> members;  // of the newest install, only without rule b

  std::string Key() const;
};

class CoordinatorAutomaton final : public Automaton {
 public:
  explicit CoordinatorAutomaton(Context& context);
  size_t states() const override { return states_.size(); }
  const CoordinatorState& Get(uint32_t state) const { return states_[state]; }
  static core::WorkerJoins Join(const Member& worker);
  static core::WorkerDefines Define(const Member& worker);

 protected:
  Outcome Take(uint32_t state, Action action) override;
  std::vector<Action> OwnActions(uint32_t state) const override;
  bool IsPast(uint32_t state, const Content& message) const override;
  bool IsHeldBack(uint32_t state, const Content& message) const override;

 private:
  struct Taking {
    CoordinatorState state;
    Outcome outcome;
  };

  void Deliver(const Content& content, Taking& taking);
  template <class Event>
  void Step(const Event& event, Taking& taking);
  void AnnounceEarly(const core::ShardInstalled& event, Taking& taking);
  void Do(const core::AnnounceGeneration& effect, Taking& taking);
  void Do(const core::SendSeal& effect, Taking& taking);
  void Do(const core::SendInstall& effect, Taking& taking);
  void Do(const core::EndRun& effect, Taking& taking);
  // What workers and shards are told besides changes nothing that is explored.
  template <class Other>
  void Do(const Other&, Taking&) {}
  void Send(Place to, Content content, Taking& taking);

  StateTable<CoordinatorState> states_;
};

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_COORDINATOR_AUTOMATON_H_
