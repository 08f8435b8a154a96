// A simulated shard: the real ShardCore, blocks with real arithmetic, and streams.
//
// What the driver in server/service must do too:
//   - reductions run beside the core and take time; their inputs are taken out of the store when they start
//   - of several streams that claim the same (rank, connection), the one that was opened last counts, and only if its
//     attach was one of the installed generation; the end of any other is not passed on to the core
#ifndef LOCKSTEP_TESTS_SIM_SHARD_PROCESS_H_
#define LOCKSTEP_TESTS_SIM_SHARD_PROCESS_H_

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

  // Connects to the coordinator.
  void Start();

  // ---- Messages of the coordinator ----
  void OnSeal(const core::SealShard& event);
  void OnInstall(core::InstallGeneration event);
  void OnFinish();

  // ---- Messages of workers ----
  void OnAttach(Link& link, const core::AttachWorker& event);
  void OnBlock(Link& link, const core::ContributeBlock& event, const std::vector<float>& payload);
  void OnEmpty(Link& link, const core::ContributeEmpty& event);
  void OnClosed(Link& link);

  const core::ShardCore& core() const { return core_; }
  ShardIndex index() const { return index_; }
  bool finished() const { return finished_; }
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
  void Do(const core::SendBlock& effect, Link* from);
  void Do(const core::SendComplete& effect, Link* from);
  void Do(const core::CommitVersion& effect, Link* from);
  void Do(const core::UndoBlocks& effect, Link* from);
  void Do(const core::DropContributions& effect, Link* from);
  void Do(const core::AnswerSealed& effect, Link* from);
  void Do(const core::AnswerInstalled& effect, Link* from);

  void OpenCoordinatorLink();
  absl::Duration DrawReduceTime();
  template <class Event>
  Event Received(const Event& event);
  void CountIgnored(uint64_t duplicates, uint64_t stale);
  void CheckContributors(const core::ReduceBlock& reduce);
  Link* Attached(const core::Destination& to) const;

  Directory& directory_;
  const ShardIndex index_;
  core::ShardCore core_;
  BlockStore store_;
  Link* coordinator_ = nullptr;
  std::map<Connection, Link*> attached_;  // the newest stream of each connection
  std::map<Link*, Connection> connection_of_;
  std::set<Link*> rejected_;  // nothing that still comes on them is heard
  Arrived arrived_;
  Round next_before_;  // as the step began
  uint32_t computing_ = 0;
  std::set<std::tuple<Generation, Round, Slot>> reduced_;
  bool finished_ = false;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_SHARD_PROCESS_H_
