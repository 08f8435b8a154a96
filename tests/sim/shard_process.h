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
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "server/core/shard.h"
#include "tests/sim/background.h"
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
  // `restore`: the version of the run's checkpoint that it takes first.
  void OnInstall(core::InstallGeneration event, std::optional<Version> restore);
  void OnFindRestorable(Generation generation, Incarnation to);
  void OnTakeCheckpoint(Version version);
  void OnClose(const core::CloseRound& event);
  void OnServe(const core::ServeRank& event);
  void OnFinish();

  // ---- Messages of workers ----
  void OnAttach(Link& link, const core::AttachWorker& event);
  // `computed_in`: the generation in which its worker took the version from which it was computed.
  void OnBlock(Link& link, const core::ContributeBlock& event, const std::vector<float>& payload,
               Generation computed_in);
  void OnEmpty(Link& link, const core::ContributeEmpty& event);
  void OnClosed(Link& link);

  const core::ShardCore& core() const { return core_; }
  ShardIndex index() const { return index_; }
  bool finished() const { return finished_; }
  // All blocks have the oracle's bits of `version` in the newest history.
  void CheckBits(Version version) const { store_.CheckBits(Generation(UINT64_MAX), version); }
  // Counts what has happened to it just now, as it crashes; what it was writing is there or not.
  void Crash();
  // Whether a reduction is under way.
  bool computing() const { return computing_ > 0; }

 private:
  // A contribution to a block by the names on the wire, and the payload that came with it.
  struct Arrived {
    core::ContributeBlock event;
    const std::vector<float>* payload = nullptr;
    Generation computed_in;
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
  bool LoadBase(core::ShardMemory& memory);
  bool Replay(const JournalRecord& record, core::ShardMemory& memory);
  core::ShardCore NewCore() const { return core::ShardCore(incarnation_, durability()); }
  core::Durability durability() const;
  bool journals() const { return durability() == core::Durability::kJournal; }
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
  void ReportLater();
  void MaybeCheckpoint(Version committed);
  void MaybeCompact();
  void SetBase(const ShardBase& base);
  void PartIsWritten(const core::CheckpointPart& part);
  void TellPart(const core::CheckpointPart& part);
  void MissPart(Version version);
  void StartRestoring(const core::InstallGeneration& event, Version version);
  void FinishRestoring(const core::InstallGeneration& event, const std::optional<CheckpointFile>& file);

  Directory& directory_;
  const ShardIndex index_;
  const Incarnation incarnation_;
  Journal& journal_;
  BlockStore store_;
  std::vector<Member> members_;  // of the newest install, for a planted bug
  bool recovered_ = false;       // something was in the journal
  bool damaged_ = false;         // and it did not fit what it begins with
  std::optional<Version> base_loaded_;
  uint64_t replayed_ = 0;  // rounds; 0 once that has been dealt with
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

  // ---- Checkpoints; see server/service/shard_driver ----
  Background background_;
  std::optional<Version> named_;    // to be written when it is committed
  std::optional<Version> writing_;  // under way
  bool compacting_ = false;         // another file is under way, of which nobody hears
  std::optional<Generation> restoring_;
  std::optional<core::SealShard> deferred_seal_;
  std::optional<core::CheckpointPart> part_;    // the newest of a checkpoint, as far as is known
  std::optional<core::CheckpointPart> begins_;  // the journal is to begin anew from this
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_SHARD_PROCESS_H_
