// ShardPlanner: what each effect of the core means here. Some effects are done at once, since they only change what the
// shard keeps (KeepPayload, CommitVersion, UndoBlocks, DropContributions); the others become work.
//
// The journal is told at once, too: it only queues, and what it is told must keep the order of the core's steps (the
// end of a round after all of its blocks), which work does not.
//
// Effects are planned in the core's order, and the order of the work is that of the effects. "Before" in the core's
// sense
// ("SendComplete comes after the round is durable") needs no care here: an effect that must wait for another's end is
// not given by the core before that end has come back as an event.
//
// Owns the connections and the contributions of the round in progress; uses the ShardModel, which ShardDriver owns.
//
// Thread-safety: none; ShardDriver holds its lock around every call. Nothing here sends, computes or blocks.
#ifndef LOCKSTEP_SERVER_SERVICE_SHARD_PLANNER_H_
#define LOCKSTEP_SERVER_SERVICE_SHARD_PLANNER_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/wire/frame.h"
#include "server/core/shard.h"
#include "server/service/connections.h"
#include "server/service/contributions.h"
#include "server/service/journal_thread.h"
#include "server/service/shard_model.h"
#include "server/service/shard_work.h"

namespace lockstep::service {

// What brought an event: a frame of a worker's stream, or neither.
struct Origin {
  std::shared_ptr<ExchangeStream> stream;  // for RejectConnection
  wire::Frame* frame = nullptr;            // for KeepPayload
};

class ShardPlanner {
 public:
  // `journal` must outlive this; null: the shard has none.
  ShardPlanner(ShardIndex shard, JournalThread* journal) : shard_(shard), journal_(journal) {}

  // Before the first effect that speaks of blocks. `model` must outlive this. `begin`: what the journal is begun with
  // at the next install; absent when there is one already, or none.
  void Adopt(ShardModel* model, std::optional<storage::JournalIdentity> begin = {}) {
    model_ = model;
    begin_ = std::move(begin);
    if (begin_) whole_.reset();
  }

  // From now on NaN and Inf are looked for.
  void CheckFinite(bool check) { check_finite_ = check; }

  // Why the shard has nothing of the run, although it had something: told with the answer to Seal.
  void SetDamage(std::string damage) { damage_ = std::move(damage); }

  // A block of the round in progress has been reduced: gives the journal what it keeps of it.
  void KeepReduced(Slot slot, Round round, const storage::Made& made) const;

  // The effects of one step, in order.
  void Plan(const core::ShardEffects& effects, const Origin& origin, WorkList& work);

  Connections& connections() { return connections_; }
  Contributions& contributions() { return contributions_; }
  const Contributions& contributions() const { return contributions_; }

 private:
  struct Context {
    const Origin& origin;
    WorkList& work;
  };

  void PlanEffect(const core::KeepPayload& effect, Context& context);
  void PlanEffect(const core::RejectConnection& effect, Context& context);
  void PlanEffect(const core::SumGroup& effect, Context& context);
  void PlanEffect(const core::ReduceBlock& effect, Context& context);
  void PlanEffect(const core::JournalRound& effect, Context& context);
  void PlanEffect(const core::JournalInstall& effect, Context& context);
  void PlanEffect(const core::SendBlock& effect, Context& context);
  void PlanEffect(const core::SendComplete& effect, Context& context);
  void PlanEffect(const core::CommitVersion& effect, Context& context);
  void PlanEffect(const core::UndoBlocks& effect, Context& context);
  void PlanEffect(const core::DropContributions& effect, Context& context);
  void PlanEffect(const core::DropRanks& effect, Context& context);
  void PlanEffect(const core::ReportWhole& effect, Context& context);
  void PlanEffect(const core::ReportWaiting& effect, Context& context);
  void PlanEffect(const core::AnswerSealed& effect, Context& context);
  void PlanEffect(const core::AnswerInstalled& effect, Context& context);
  // The last block of a round says that the round is complete: one message less on the path of every round.
  void PlanLastBlock(const core::SendBlock& block, const core::SendComplete& complete, Context& context);
  void SendTo(const core::Destinations& to, Version version, grpc::ByteBuffer message, WorkList& work) const;

  storage::RoundContents ContentsOf(Round round, bool nothing) const;

  const ShardIndex shard_;
  JournalThread* const journal_;
  ShardModel* model_ = nullptr;
  std::optional<storage::JournalIdentity> begin_;
  std::optional<Version> whole_;  // the newest round in the journal that brings everything
  bool check_finite_ = true;
  std::string damage_;
  Connections connections_;
  Contributions contributions_;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_SHARD_PLANNER_H_
