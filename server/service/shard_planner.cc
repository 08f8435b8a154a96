#include "server/service/shard_planner.h"

#include <string>
#include <utility>
#include <variant>

#include "server/service/shard_frames.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {

void ShardPlanner::Plan(const core::ShardEffects& effects, const Origin& origin, WorkList& work) {
  Context context{origin, work};
  for (size_t i = 0; i < effects.size(); ++i) {
    const auto* block = std::get_if<core::SendBlock>(&effects[i]);
    const auto* complete = i + 1 < effects.size() ? std::get_if<core::SendComplete>(&effects[i + 1]) : nullptr;
    if (block != nullptr && complete != nullptr && block->to == complete->to) {
      PlanLastBlock(*block, *complete, context);
      ++i;
    } else {
      std::visit([&](const auto& e) { PlanEffect(e, context); }, effects[i]);
    }
  }
}

// ---- Contributions ----

void ShardPlanner::PlanEffect(const core::KeepPayload& effect, Context& context) {
  contributions_.Keep(effect.slot, effect.rank, *context.origin.frame);
}

void ShardPlanner::PlanEffect(const core::RejectConnection& effect, Context& context) {
  context.work.push_back(EndStream{context.origin.stream, effect.status});
}

void ShardPlanner::PlanEffect(const core::SumGroup& effect, Context& context) {
  context.work.push_back(SumPayloads{.store = &model_->store,
                                     .slot = effect.slot,
                                     .group = effect.group,
                                     .check_finite = check_finite_,
                                     .payloads = contributions_.Take(effect.slot, effect.contributors)});
}

void ShardPlanner::PlanEffect(const core::ReduceBlock& effect, Context& context) {
  double total = 0;
  for (const core::Weighted& contributor : effect.contributors) total += contributor.weight;
  ReducePayloads reduce{.store = &model_->store,
                        .round = effect.round,
                        .slot = effect.slot,
                        .grouped = effect.grouped,
                        .check_finite = check_finite_,
                        .total_weight = static_cast<float>(total),
                        .payloads = {},
                        .group_sums = {}};
  if (effect.grouped) {
    reduce.group_sums = contributions_.TakeGroupSums(effect.slot);
  } else {
    reduce.payloads = contributions_.Take(effect.slot, effect.contributors);
  }
  context.work.push_back(std::move(reduce));
}

void ShardPlanner::PlanEffect(const core::DropContributions&, Context&) {
  if (model_ != nullptr) contributions_.Reset(model_->store.blocks(), model_->ranks, model_->groups());
}

void ShardPlanner::PlanEffect(const core::DropRanks& effect, Context&) {
  for (Rank rank : effect.ranks) contributions_.Drop(rank);
}

void ShardPlanner::PlanEffect(const core::ReportWhole& effect, Context& context) {
  AnswerCoordinator report;
  v1::Whole* whole = report.message.mutable_whole();
  whole->set_generation(effect.generation.value());
  whole->set_round(effect.round.value());
  whole->set_rank(effect.rank.value());
  context.work.push_back(std::move(report));
}

void ShardPlanner::PlanEffect(const core::ReportWaiting& effect, Context& context) {
  AnswerCoordinator report;
  v1::Waiting* waiting = report.message.mutable_waiting();
  waiting->set_generation(effect.generation.value());
  waiting->set_rank(effect.rank.value());
  waiting->set_given(effect.given.value());
  context.work.push_back(std::move(report));
}

// ---- Durability ----

// What the journal keeps of a round's blocks: the least from which the version can be made again.
storage::RoundContents ShardPlanner::ContentsOf(Round round, bool nothing) const {
  if (round == Round(0) || !model_->store.has_state()) return storage::RoundContents::kParameters;
  return nothing ? storage::RoundContents::kNothing : storage::RoundContents::kGradient;
}

void ShardPlanner::KeepReduced(Slot slot, Round round, const storage::Made& made) const {
  if (journal_ == nullptr) return;
  switch (ContentsOf(round, /*nothing=*/made.gradient == nullptr)) {
    case storage::RoundContents::kNothing:
      return;
    case storage::RoundContents::kParameters:
      return journal_->WriteBlock(slot, made.block);
    case storage::RoundContents::kGradient:
      return journal_->WriteBlock(slot, made.gradient);
  }
}

void ShardPlanner::PlanEffect(const core::JournalRound& effect, Context&) {
  const storage::RoundContents contents = ContentsOf(effect.version, effect.nothing);
  if (contents == storage::RoundContents::kParameters) {
    whole_ = effect.version;
  } else if (whole_ && *whole_ >= effect.version) {
    whole_.reset();  // it was undone
  }
  journal_->CommitRound({.generation = effect.generation,
                         .version = effect.version,
                         .contents = contents,
                         .participants = effect.participants});
}

void ShardPlanner::PlanEffect(const core::JournalInstall& effect, Context&) {
  const std::optional<storage::JournalIdentity> begin = std::exchange(begin_, std::nullopt);
  if (begin) journal_->Begin(*begin);
  // A journal that begins later than with round 0 goes on from what was restored.
  const bool restored = begin && effect.resume > Round(0);
  journal_->AppendInstall({.generation = effect.generation, .resume = effect.resume, .restored = restored});
}

// ---- Versions ----

void ShardPlanner::SendTo(const core::Destinations& to, Version version, grpc::ByteBuffer message,
                          WorkList& work) const {
  const auto shared = std::make_shared<const grpc::ByteBuffer>(std::move(message));
  for (const core::Destination& destination : to) {
    std::shared_ptr<ExchangeStream> stream = connections_.Find(destination.rank, destination.connection);
    if (stream != nullptr) work.push_back(SendFrame{std::move(stream), shared, version});
  }
}

void ShardPlanner::PlanEffect(const core::SendBlock& effect, Context& context) {
  SendTo(effect.to, effect.version,
         BlockMessage(VersionHeader(effect.generation, effect.version), model_->block(effect.slot),
                      model_->store.current(effect.slot)),
         context.work);
}

void ShardPlanner::PlanLastBlock(const core::SendBlock& block, const core::SendComplete& complete, Context& context) {
  v1::FrameHeader header =
      CompleteHeader(complete.generation, complete.version, complete.completed_in, complete.participants);
  SendTo(block.to, block.version,
         BlockMessage(std::move(header), model_->block(block.slot), model_->store.current(block.slot)), context.work);
}

void ShardPlanner::PlanEffect(const core::SendComplete& effect, Context& context) {
  SendTo(effect.to, effect.version,
         wire::Encode(CompleteHeader(effect.generation, effect.version, effect.completed_in, effect.participants)),
         context.work);
}

void ShardPlanner::PlanEffect(const core::CommitVersion& effect, Context&) {
  model_->store.Commit();
  // The newest committed round that brings everything needs none before it.
  const bool alone = journal_ != nullptr && !model_->store.has_state() && whole_ && *whole_ <= effect.version;
  if (alone && *whole_ > Version(0)) journal_->Forget(whole_->previous());
}

void ShardPlanner::PlanEffect(const core::UndoBlocks& effect, Context&) {
  spdlog::info("shard {}: undoes {} tentative blocks", shard_.value(), effect.slots.size());
  for (Slot slot : effect.slots) model_->store.Undo(slot);
}

// ---- Answers ----

void ShardPlanner::PlanEffect(const core::AnswerSealed& effect, Context& context) {
  AnswerCoordinator answer;
  v1::Sealed* sealed = answer.message.mutable_sealed();
  sealed->set_generation(effect.generation.value());
  sealed->set_next_round(effect.has.next.value());
  sealed->set_completed_in(effect.has.completed_in.value());
  sealed->set_completed_in_before(effect.has.completed_in_before.value());
  sealed->set_committed(effect.has.committed);
  sealed->set_blank(effect.has.blank);
  if (effect.has.blank) sealed->set_damage(damage_);
  context.work.push_back(std::move(answer));
}

void ShardPlanner::PlanEffect(const core::AnswerInstalled& effect, Context& context) {
  AnswerCoordinator answer;
  v1::Installed* installed = answer.message.mutable_installed();
  installed->set_generation(effect.generation.value());
  if (!effect.status.ok()) {
    installed->set_error(std::string(effect.status.message()));
    installed->set_code(static_cast<uint32_t>(effect.status.code()));
  }
  context.work.push_back(std::move(answer));
}

}  // namespace lockstep::service
