// A simulated shard, one life of it: the real ShardCore, blocks with real arithmetic, streams, and a disk that it finds
// again in its next life.
//
// What the driver in server/service must do too:
//   - reductions run beside the core and take time; their inputs are taken out of the store when they start
//   - what it reads from its journal when it comes back is synced before it greets the coordinator
//   - of several streams that claim the same (rank, connection), the one that was opened last counts, and only if its
//     attach was one of the installed generation; the end of any other is not passed on to the core
#ifndef LOCKSTEP_TESTS_SIM_SHARD_PROCESS_H_
#define LOCKSTEP_TESTS_SIM_SHARD_PROCESS_H_

#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "server/core/shard.h"
#include "tests/sim/block_store.h"
#include "tests/sim/directory.h"
#include "tests/sim/link.h"
#include "tests/sim/process.h"

namespace lockstep::sim {

class ShardProcess : public Process {
 public:
  ShardProcess(World& world, Directory& directory, ShardIndex index, Incarnation incarnation);

  // Reads its journal, then connects to the coordinator.
  void Start();

  // ---- Messages of the coordinator ----
  void OnSeal(const core::SealShard& event);
  void OnInstall(core::InstallGeneration event);
  void OnClose(const core::CloseRound& event);
  void OnServe(const core::ServeRank& event);
  void OnFinish();

  // ---- Messages of workers ----
  void OnAttach(Link& link, const core::AttachWorker& event);
  void OnBlock(Link& link, const core::ContributeBlock& event, const std::vector<float>& payload);
  void OnEmpty(Link& link, const core::ContributeEmpty& event);
  void OnClosed(Link& link);

  const core::ShardCore& core() const { return core_; }
  ShardIndex index() const { return index_; }
  bool finished() const { return finished_; }
  // All blocks have the oracle's bits of `version`.
  void CheckBits(Version version) const { store_.CheckBits(version); }
  // What has happened to it just now, as it crashes.
  void CountCrash() const;
  // Whether a reduction is under way.
  bool computing() const { return computing_ > 0; }

 private:
  // A contribution to a block by the names on the wire, and the payload that came with it.
  struct Arrived {
    core::ContributeBlock event;
    const std::vector<float>* payload = nullptr;
  };
  using Connection = std::pair<Rank, uint32_t>;

  template <class Event>
  void Step(const Event& event, Link* from = nullptr);
  void Run(const core::ShardEffects& effects, Link* from);
  void Do(const core::KeepPayload& effect, Link* from);
  void Do(const core::RejectConnection& effect, Link* from);
  void Do(const core::SumGroup& effect, Link* from);
  void Do(const core::ReduceBlock& effect, Link* from);
  void Do(const core::JournalRound& effect, Link* from);
  void Do(const core::JournalInstall& effect, Link* from);
  void Do(const core::SendBlock& effect, Link* from);
  void Do(const core::SendComplete& effect, Link* from);
  void Do(const core::CommitVersion& effect, Link* from);
  void Do(const core::UndoBlocks& effect, Link* from);
  void Do(const core::DropContributions& effect, Link* from);
  void Do(const core::DropRanks& effect, Link* from);
  void Do(const core::ReportWhole& effect, Link* from);
  void Do(const core::ReportWaiting& effect, Link* from);
  void Do(const core::AnswerSealed& effect, Link* from);
  void Do(const core::AnswerInstalled& effect, Link* from);

  core::ShardCore Recover();
  void Replay(const JournalRecord& record, core::ShardMemory& memory);
  void ServeAtOnce();
  void OpenCoordinatorLink();
  template <class Event>
  void Write(JournalRecord record, const Event& journaled);
  void CheckMayServe();
  absl::Duration DrawReduceTime();
  template <class Event>
  Event Received(const Event& event);
  void CountIgnored(uint64_t duplicates, uint64_t stale);
  void CheckContributors(const core::ReduceBlock& reduce);
  Link* Attached(const core::Destination& to) const;
  void SendVersion(Link& link, Version version, std::function<void()> deliver);
  template <class Event>
  void TellCoordinator(const Event& event);

  Directory& directory_;
  const ShardIndex index_;
  const Incarnation incarnation_;
  Journal& journal_;
  BlockStore store_;
  std::vector<Member> members_;  // of the newest install, for a planted bug
  bool recovered_ = false;       // something was in the journal
  bool replayed_nothing_ = false;
  bool replayed_undo_ = false;
  bool back_tentative_ = false;  // as it came back, and neither committed nor undone yet
  core::ShardCore core_;
  bool installed_ = false;  // the coordinator has sent this life an install
  Link* coordinator_ = nullptr;
  std::map<Connection, Link*> attached_;  // the newest stream of each connection
  std::map<Link*, Connection> connection_of_;
  std::set<Link*> rejected_;  // nothing that still comes on them is heard
  Arrived arrived_;
  Round next_before_;  // as the step began
  uint32_t computing_ = 0;
  std::set<std::tuple<Generation, Round, Slot>> reduced_;
  bool sealed_not_installed_ = false;
  std::map<std::pair<Link*, Version>, uint32_t> under_way_;  // messages of that version on that stream
  Round reported_;                                           // of the newest ReportWhole
  std::set<Rank> whole_here_;                                // by the ReportWhole of that round
  bool installing_ = false;                                  // what is being journaled is an install
  bool finished_ = false;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_SHARD_PROCESS_H_
