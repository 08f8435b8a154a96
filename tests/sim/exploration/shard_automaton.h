// A shard: the real ShardCore, a journal that is the fold of its records (the real ShardMemory), and the histories of
// the versions that it holds in place of blocks.
//
// Checked here: reductions take the contributions of every contributor, computed from the version that the shard holds;
// a committed version is not undone; a life serves nothing before an install that was meant for it (rule a); nobody is
// rejected; the journal can be read again.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_SHARD_AUTOMATON_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_SHARD_AUTOMATON_H_

#include <string>
#include <variant>
#include <vector>

#include "server/core/shard.h"
#include "tests/sim/exploration/automaton.h"

namespace lockstep::exploration {

struct ShardState {
  struct Kept {
    Member who;
    ValueId on;
  };
  struct Nothing {};
  struct Disk {
    core::ShardMemory memory;
    ValueId newest;
  };

  core::ShardCore core;
  core::ShardMemory disk;
  std::variant<Nothing, core::JournalRound, core::JournalInstall> writing;
  bool reducing = false;
  uint32_t life = 0;
  bool may_serve = false;  // this life has been given an install
  std::vector<Member> members;
  std::vector<Kept> kept;                 // contributions to the round in progress
  ValueId newest = kNoValue;              // complete in memory
  ValueId block = kNoValue;               // of the round in progress, when it is reduced
  ValueId on_disk = kNoValue;             // what the disk would come back to
  std::vector<Disk> disks_before;         // before each record, the oldest first; only with power loss
  core::ShardMemory disk_before_install;  // only without rule a, as is the next
  core::InstallGeneration installed;

  std::string Key() const;
};

class ShardAutomaton final : public Automaton {
 public:
  ShardAutomaton(Context& context, ShardIndex index);
  size_t states() const override { return states_.size(); }
  const ShardState& Get(uint32_t state) const { return states_[state]; }
  core::ShardArrives Greeting(const ShardState& state) const;

 protected:
  Outcome Take(uint32_t state, Action action) override;
  std::vector<Action> OwnActions(uint32_t state) const override;
  bool IsPast(uint32_t state, const Content& message) const override;

 private:
  // One event on its way through a copy of a state.
  struct Taking {
    ShardState state;
    Outcome outcome;
    const Contribution* contribution = nullptr;  // that has just arrived
  };

  template <class Event>
  void Step(const Event& event, Taking& taking);
  void Deliver(const Content& content, Taking& taking);
  void EndReduction(Taking& taking);
  void EndWriting(Taking& taking);
  void Crash(Action action, Taking& taking);
  void WriteToDisk(ShardState& state, Outcome& outcome) const;
  void GoOnAsIfNothingHadBeen(ShardState& state) const;
  static void Expect(bool holds, Taking& taking, const std::string& what);

  void Do(const core::KeepPayload& effect, Taking& taking);
  void Do(const core::RejectConnection& effect, Taking& taking);
  void Do(const core::SumGroup& effect, Taking& taking);
  void Do(const core::ReduceBlock& effect, Taking& taking);
  void Do(const core::JournalRound& effect, Taking& taking);
  void Do(const core::JournalInstall& effect, Taking& taking);
  void Do(const core::SendBlock& effect, Taking& taking);
  void Do(const core::SendComplete& effect, Taking& taking);
  void Do(const core::CommitVersion& effect, Taking& taking);
  void Do(const core::UndoBlocks& effect, Taking& taking);
  void Do(const core::DropContributions& effect, Taking& taking);
  void Do(const core::DropRanks&, Taking& taking) { Expect(false, taking, "policy `all` decides nothing"); }
  void Do(const core::ReportWhole&, Taking& taking) { Expect(false, taking, "policy `all` decides nothing"); }
  void Do(const core::ReportWaiting&, Taking& taking) { Expect(false, taking, "policy `all` decides nothing"); }
  void Do(const core::AnswerSealed& effect, Taking& taking);
  void Do(const core::AnswerInstalled& effect, Taking& taking);

  // The value of `version` that this shard would send.
  ValueId ValueOf(Version version, Taking& taking) const;
  void Send(Place to, Content content, Taking& taking);

  const ShardIndex index_;
  StateTable<ShardState> states_;
};

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_SHARD_AUTOMATON_H_
