#include "tests/sim/shard_process.h"

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/coordinator_process.h"
#include "tests/sim/worker_process.h"

namespace lockstep::sim {

ShardProcess::ShardProcess(World& world, Directory& directory, ShardIndex index, Incarnation incarnation)
    : Process(world, PlaceOf(index)),
      directory_(directory),
      index_(index),
      incarnation_(incarnation),
      journal_(*directory.journals[index.value()]),
      store_(world, index, world.plan().elements[index.value()].size()),
      core_(Recover()) {
  const ShardProcess* before = directory.shards[index.value()];
  if (before != nullptr) members_ = before->members_;
}

void ShardProcess::Start() {
  if (world().plan().elements[index_.value()].empty()) world().Count(Occurrence::kShardWithoutBlocks);
  if (back_tentative_) world().Count(Occurrence::kShardBackTentative);
  if (replayed_nothing_) world().Count(Occurrence::kReplayedNothing);
  if (replayed_undo_) world().Count(Occurrence::kReplayedUndo);
  if (recovered_ && world().has(PlantedBug::kServesAtOnce)) ServeAtOnce();
  if (!recovered_ || world().has(PlantedBug::kForgetsSync)) return OpenCoordinatorLink();
  journal_.Sync(*this, [this] { OpenCoordinatorLink(); });
}

// ---- The journal ----

core::ShardCore ShardProcess::Recover() {
  size_t records = journal_.records().size();
  if (records > 0 && world().has(PlantedBug::kReplayLosesTail)) --records;
  core::ShardMemory memory;
  for (size_t i = 0; i < records; ++i) Replay(journal_.records()[i], memory);
  recovered_ = records > 0;
  if (!recovered_) return core::ShardCore(incarnation_, core::Durability::kJournal);
  world().Trace("shard $0 comes back to generation $1, round $2, tentative: $3", index_, memory.installed(),
                memory.next(), memory.tentative());
  back_tentative_ = memory.tentative();
  if (back_tentative_ && world().has(PlantedBug::kReplayCommits)) store_.Commit(memory.next().previous());
  return core::ShardCore(incarnation_, memory, static_cast<uint32_t>(store_.size()));
}

void ShardProcess::Replay(const JournalRecord& record, core::ShardMemory& memory) {
  const Round before = memory.next();
  const bool tentative = memory.tentative();
  const bool valid = std::visit([&](const auto& what) { return memory.Add(what); }, record.what);
  world().Expect(valid, "a shard that comes back finds a record that no shard writes here (G5)");
  const bool undone = memory.next() < before;
  if (tentative && !undone) store_.Commit(before.previous());
  if (const auto* round = std::get_if<core::JournalRound>(&record.what)) {
    replayed_nothing_ |= round->nothing;
    store_.Replay(round->version, round->nothing, record.blocks);
  }
  if (!undone) return;
  replayed_undo_ = true;
  for (uint32_t s = 0; s < store_.size() && !world().has(PlantedBug::kReplayForgetsUndo); ++s) store_.Undo(Slot(s));
}

// What rule a forbids: the shard goes on as if it had never been away.
void ShardProcess::ServeAtOnce() {
  const Generation generation = core_.generation();
  const Round next = core_.next_round();
  if (members_.empty() || generation < Generation(2)) return;
  core::ShardMemory memory;
  const Round first = next == Round(0) ? next : next.previous();
  if (core_.tentative()) store_.Commit(first);
  memory.Add(core::JournalInstall{generation.previous(), first});
  if (first < next) {
    memory.Add(core::JournalRound{
        .generation = generation.previous(), .version = first, .nothing = false, .participants = core_.participants()});
  }
  core_ = core::ShardCore(incarnation_, memory, static_cast<uint32_t>(store_.size()));
  core::ShardEffects ignored;
  core_.Step(core::SealShard{generation, incarnation_}, world().now(), ignored);
  core_.Step(core::InstallGeneration{.generation = generation,
                                     .to = incarnation_,
                                     .resume = next,
                                     .members = members_,
                                     .blocks = static_cast<uint32_t>(store_.size())},
             world().now(), ignored);
  core_.Step(core::InstallJournaled{generation}, world().now(), ignored);
}

template <class Event>
void ShardProcess::Write(JournalRecord record, const Event& journaled) {
  const bool skips = world().has(PlantedBug::kSkipsJournal);
  const bool early = skips || world().has(PlantedBug::kCompletesEarly);
  if (early) After(absl::Microseconds(1), [this, journaled] { Step(journaled); });
  if (skips) return;
  journal_.Append(*this, std::move(record), [this, early, journaled] {
    if (!early) Step(journaled);
  });
}

void ShardProcess::Do(const core::JournalRound& effect, Link*) {
  world().Trace("shard $0 journals round $1 of generation $2", index_, effect.version, effect.generation);
  installing_ = false;
  world().NoteMade(effect.generation, effect.version, effect.participants);
  Write({effect, store_.JournalBlocks(effect.nothing)}, core::RoundJournaled{effect.generation, effect.version});
}

void ShardProcess::Do(const core::JournalInstall& effect, Link*) {
  world().Trace("shard $0 journals generation $1, next is round $2", index_, effect.generation, effect.resume);
  installing_ = true;
  Write({effect, {}}, core::InstallJournaled{effect.generation});
}

void ShardProcess::CountCrash() const {
  World& world = const_cast<ShardProcess*>(this)->world();
  world.Count(Occurrence::kShardCrash);
  if (computing_ > 0) world.Count(Occurrence::kCrashWhileReducing);
  if (sealed_not_installed_) world.Count(Occurrence::kCrashWhileSealed);
  if (core_.journaling())
    world.Count(installing_ ? Occurrence::kCrashWhileInstalling : Occurrence::kCrashWhileJournaling);
}

// Rule a: a restarted shard serves nothing before an install that is meant for this life of it.
void ShardProcess::CheckMayServe() {
  world().Expect(
      installed_ && core_.generation() > Generation(0),
      absl::StrCat("shard ", index_.value(), " serves before this life of it has been given a generation (G5)"));
}

void ShardProcess::OpenCoordinatorLink() {
  const auto again = [this] {
    After(world().random().Skewed(absl::Milliseconds(1), absl::Milliseconds(200)), [this] { OpenCoordinatorLink(); });
  };
  CoordinatorProcess& coordinator = *directory_.coordinator;
  if (!coordinator.alive()) return again();
  Link& link = directory_.Open(world(), LinkKind::kShardToCoordinator, coordinator_ != nullptr, *this, coordinator);
  coordinator_ = &link;
  link.WhenClosed(End::kClient, [this, again] {
    if (!finished_) again();
  });
  const core::ShardArrives hello{.shard = index_,
                                 .incarnation = core_.incarnation(),
                                 .address = "",
                                 .run_id = core_.generation() == Generation(0) ? "" : CoordinatorProcess::kRunId};
  link.Send(End::kServer, [&coordinator, &link, hello] { coordinator.OnShard(link, hello); });
}

// ---- Events ----

template <class Event>
void ShardProcess::Step(const Event& event, Link* from) {
  const uint64_t duplicates = core_.duplicates();
  const uint64_t stale = core_.stale();
  const uint64_t late = core_.late();
  const Generation generation = core_.generation();
  next_before_ = core_.next_round();
  core::ShardEffects effects;
  core_.Step(event, world().now(), effects);
  CountIgnored(duplicates, stale);
  if (core_.late() > late) world().Count(Occurrence::kLateContribution);
  world().Expect(core_.generation() >= generation, "a shard's generation goes back (G3)");
  Run(effects, from);
}

void ShardProcess::CountIgnored(uint64_t duplicates, uint64_t stale) {
  if (core_.stale() > stale) world().Count(Occurrence::kStaleIgnored);
  if (core_.duplicates() == duplicates) return;
  world().Count(Occurrence::kDuplicateIgnored);
  const bool of_this_round = arrived_.payload != nullptr && arrived_.event.round == core_.next_round();
  if (world().has(PlantedBug::kCountsDuplicates) && of_this_round) {
    store_.Keep(arrived_.event.who.rank, arrived_.event.slot, *arrived_.payload);
  }
}

void ShardProcess::OnSeal(const core::SealShard& event) {
  world().Trace("shard $0 is told to seal for generation $1, $2 reductions under way", index_, event.generation,
                computing_);
  if (event.to != incarnation_) world().Count(Occurrence::kSealOfOtherLife);
  const bool news = event.to == incarnation_ && event.generation > core_.generation();
  if (news && computing_ > 0) world().Count(Occurrence::kSealWhileReducing);
  sealed_not_installed_ |= news;
  Step(event);
}

void ShardProcess::OnInstall(core::InstallGeneration event) {
  event.blocks = static_cast<uint32_t>(store_.size());
  if (event.to != incarnation_) {
    world().Count(Occurrence::kSealOfOtherLife);
  } else {
    installed_ = true;
    members_ = event.members;
    const auto& held = world().newest_held();
    world().Expect(!held || event.resume > *held || world().plan().loses_shard(),
                   absl::StrCat("a generation resumes at round ", event.resume.value(), ", but version ",
                                held ? held->value() : 0, " was held (G5)"));
  }
  Step(event);
}

void ShardProcess::OnClose(const core::CloseRound& event) {
  world().Trace("shard $0 is told that round $1 of generation $2 is closed with $3 ranks", index_, event.round,
                event.generation, event.participants.size());
  if (event.participants.size() > 8) world().Count(Occurrence::kDecidedGrouped);
  Step(event);
}

void ShardProcess::OnServe(const core::ServeRank& event) {
  world().Trace("shard $0 is told to give rank $1 version $2 in generation $3", index_, event.rank, event.version,
                event.generation);
  Step(event);
}

void ShardProcess::OnFinish() {
  world().Trace("shard $0 ends", index_);
  finished_ = true;
}

void ShardProcess::OnAttach(Link& link, const core::AttachWorker& event) {
  if (rejected_.contains(&link)) return;
  world().Trace("shard $0: rank $1, connection $2, attaches in generation $3 for round $4", index_, event.who.rank,
                event.connection, event.generation, event.next);
  const Connection connection{event.who.rank, event.connection};
  Link*& newest = attached_[connection];
  const auto& seats = directory_.coordinator->core().seats();
  if (seats[event.who.rank.value()].incarnation != event.who.incarnation) world().Count(Occurrence::kDeadFrame);
  const bool current = event.generation == core_.generation() && core_.serving();
  if (recovered_ && !installed_) world().Count(Occurrence::kStaleAtRestarted);
  if (current && newest != nullptr && newest->number() > link.number()) {
    world().Count(Occurrence::kLateAttach);
    return;
  }
  if (current) {
    newest = &link;
    connection_of_[&link] = connection;
  }
  Step(Received(event), &link);
}

void ShardProcess::OnClosed(Link& link) {
  const auto at = connection_of_.find(&link);
  if (at == connection_of_.end()) return;
  const Connection connection = at->second;
  connection_of_.erase(at);
  if (attached_[connection] != &link) {
    world().Count(Occurrence::kLateDetach);
    if (!world().has(PlantedBug::kDetachesLate)) return;
  } else {
    attached_.erase(connection);
  }
  world().Trace("shard $0: rank $1, connection $2, is gone", index_, connection.first, connection.second);
  Step(core::DetachWorker{connection.first, connection.second});
}

// The event as the core gets it: as it is, but for a planted bug that takes every frame for a current one.
template <class Event>
Event ShardProcess::Received(const Event& event) {
  if (!world().has(PlantedBug::kIgnoresGeneration) || !core_.serving()) return event;
  Event forged = event;
  forged.generation = core_.generation();
  forged.who.incarnation = directory_.coordinator->core().seats()[event.who.rank.value()].incarnation;
  return forged;
}

void ShardProcess::OnBlock(Link& link, const core::ContributeBlock& event, const std::vector<float>& payload) {
  if (rejected_.contains(&link)) return;
  world().Trace("shard $0: rank $1 brings block $2 for round $3, generation $4", index_, event.who.rank, event.slot,
                event.round, event.generation);
  arrived_ = {event, &payload};
  Step(Received(event), &link);
  arrived_ = {};
}

void ShardProcess::OnEmpty(Link& link, const core::ContributeEmpty& event) {
  if (rejected_.contains(&link)) return;
  world().Trace("shard $0: rank $1 brings nothing for round $2, generation $3", index_, event.who.rank, event.round,
                event.generation);
  Step(Received(event), &link);
}

// ---- Effects ----

void ShardProcess::Run(const core::ShardEffects& effects, Link* from) {
  for (const core::ShardEffect& effect : effects) {
    std::visit([this, from](const auto& e) { Do(e, from); }, effect);
  }
}

void ShardProcess::Do(const core::KeepPayload& effect, Link*) {
  CheckMayServe();
  const core::ContributeBlock& event = arrived_.event;
  world().Expect(event.generation == core_.generation() && event.round == core_.next_round(),
                 absl::StrCat("a contribution of generation ", event.generation.value(), " to round ",
                              event.round.value(), " counts in generation ", core_.generation().value(), ", round ",
                              core_.next_round().value(), " (G3)"));
  store_.Keep(effect.rank, effect.slot, *arrived_.payload);
}

void ShardProcess::Do(const core::RejectConnection& effect, Link* from) {
  world().Trace("shard $0 rejects a stream with code $1", index_, effect.status.code());
  world().Remark(effect.status.message());
  world().Expect(world().plan().loses_shard(),
                 absl::StrCat("a shard rejects a worker that does nothing wrong (G6): ", effect.status.message()));
  rejected_.insert(from);
  from->Close();
}

absl::Duration ShardProcess::DrawReduceTime() {
  return world().random().Skewed(absl::Microseconds(10), world().plan().reduce);
}

void ShardProcess::Do(const core::SumGroup& effect, Link*) {
  world().Count(Occurrence::kGroupedReduction);
  ++computing_;
  After(DrawReduceTime(), [this, effect, inputs = store_.TakePayloads(effect.slot, effect.contributors)] {
    --computing_;
    store_.FinishGroup(effect, inputs);
    Step(core::GroupSummed{effect.slot, effect.group});
  });
}

void ShardProcess::CheckContributors(const core::ReduceBlock& reduce) {
  std::vector<Rank> ranks;
  for (const core::Weighted& who : reduce.contributors) ranks.push_back(who.rank);
  const bool all = !world().plan().policy.decides() && reduce.round > Round(0);
  std::vector<Rank> members;
  for (const Member& member : members_) members.push_back(member.rank);
  world().Expect(!all || ranks == members,
                 absl::StrCat("round ", reduce.round.value(), " is reduced from the wrong set of ranks (G2)"));
  world().NoteMade(core_.generation(), reduce.round, ranks);
  const bool none = std::none_of(reduce.contributors.begin(), reduce.contributors.end(),
                                 [](const core::Weighted& who) { return who.weight > 0; });
  if (none) world().Count(Occurrence::kRoundWithoutWeight);
}

void ShardProcess::Do(const core::ReduceBlock& effect, Link*) {
  world().Trace("shard $0 reduces block $1 of round $2 in generation $3", index_, effect.slot, effect.round,
                core_.generation());
  CheckMayServe();
  world().Expect(reduced_.insert({core_.generation(), effect.round, effect.slot}).second,
                 "a block is reduced twice in one generation (G3)");
  CheckContributors(effect);
  ++computing_;
  After(DrawReduceTime(), [this, effect, inputs = store_.TakeInputs(effect)] {
    --computing_;
    store_.Close(effect, inputs);
    Step(core::BlockReduced{effect.slot});
  });
}

Link* ShardProcess::Attached(const core::Destination& to) const {
  const auto at = attached_.find({to.rank, to.connection});
  return at == attached_.end() ? nullptr : at->second;
}

// A message of a version. A rank is not sent newer ones as long as it has not got the older (G7): what may come
// together is what was sent again to a new stream, and what follows it.
void ShardProcess::SendVersion(Link& link, Version version, std::function<void()> deliver) {
  constexpr size_t kMostVersions = 5;
  ++under_way_[{&link, version}];
  const auto first = under_way_.lower_bound({&link, Version(0)});
  const auto last = under_way_.upper_bound({&link, Version(UINT64_MAX)});
  world().Expect(static_cast<size_t>(std::distance(first, last)) <= kMostVersions,
                 absl::StrCat("shard ", index_.value(), " sends a rank ever more versions that it does not take (G7)"));
  link.Send(End::kClient, [this, key = std::pair(&link, version), deliver = std::move(deliver)] {
    if (--under_way_[key] == 0) under_way_.erase(key);
    deliver();
  });
}

void ShardProcess::Do(const core::SendBlock& effect, Link* from) {
  CheckMayServe();
  if (from != nullptr && from->reopened()) world().Count(Occurrence::kReconnectReplay);
  const std::vector<float>& values = store_.Get(effect.slot, effect.version);
  const client::ParametersArrived event{index_, effect.generation, effect.version, effect.slot};
  for (const core::Destination& to : effect.to) {
    Link* link = Attached(to);
    if (link == nullptr) continue;
    auto* worker = static_cast<WorkerProcess*>(&link->process(End::kClient));
    SendVersion(*link, effect.version,
                [worker, link, to, event, values] { worker->OnParameters(*link, to.connection, event, values); });
  }
}

void ShardProcess::Do(const core::SendComplete& effect, Link*) {
  world().Trace("shard $0 says that version $1 is complete", index_, effect.version);
  CheckMayServe();
  world().Expect(store_.AllAt(effect.version) || world().has(PlantedBug::kForgetsUndo) ||
                     world().has(PlantedBug::kReplayForgetsUndo),
                 "a version is called complete before all blocks are closed (G1)");
  world().Expect(journal_.Safe().next() > effect.version,
                 absl::StrCat("shard ", index_.value(), " calls version ", effect.version.value(),
                              " complete before its journal has it (G5)"));
  if (recovered_ && installed_) world().Count(Occurrence::kServesAfterRestart);
  world().Expect(effect.participants == world().oracle().Participants(effect.version),
                 absl::StrCat("shard ", index_.value(), " names the wrong participants of version ",
                              effect.version.value(), " (G2)"));
  const client::CompleteArrived event{index_, effect.generation, effect.version, effect.completed_in,
                                      effect.participants};
  for (const core::Destination& to : effect.to) {
    Link* link = Attached(to);
    if (link == nullptr) continue;
    auto* worker = static_cast<WorkerProcess*>(&link->process(End::kClient));
    SendVersion(*link, effect.version, [worker, link, event] { worker->OnComplete(*link, event); });
  }
}

void ShardProcess::Do(const core::CommitVersion& effect, Link*) {
  world().Trace("shard $0 commits version $1", index_, effect.version);
  if (std::exchange(back_tentative_, false)) world().Count(Occurrence::kCommitAfterRestart);
  store_.Commit(effect.version);
}

void ShardProcess::Do(const core::UndoBlocks& effect, Link*) {
  const bool version = core_.next_round() < next_before_;
  world().Trace("shard $0 undoes $1 blocks, next is round $2", index_, effect.slots.size(), core_.next_round());
  if (version && std::exchange(back_tentative_, false)) world().Count(Occurrence::kUndoAfterRestart);
  world().Count(version ? Occurrence::kVersionUndo : Occurrence::kPartialUndo);
  if (version && world().plan().policy.decides()) world().Count(Occurrence::kDecisionUndone);
  for (Slot slot : effect.slots) store_.Undo(slot);
}

void ShardProcess::Do(const core::DropRanks& effect, Link*) {
  for (Rank rank : effect.ranks) {
    const bool whole = reported_ == core_.next_round() && whole_here_.contains(rank);
    world().Count(whole ? Occurrence::kDroppedWhole : Occurrence::kDroppedPartly);
    store_.Drop(rank);
  }
}

template <class Event>
void ShardProcess::TellCoordinator(const Event& event) {
  auto* coordinator = static_cast<CoordinatorProcess*>(&coordinator_->process(End::kServer));
  coordinator_->Send(End::kServer, [coordinator, event] { coordinator->OnShardSays(event); });
}

void ShardProcess::Do(const core::ReportWhole& effect, Link*) {
  if (reported_ != effect.round) whole_here_.clear();
  reported_ = effect.round;
  whole_here_.insert(effect.rank);
  TellCoordinator(core::ContributionWhole{.shard = index_,
                                          .incarnation = incarnation_,
                                          .generation = effect.generation,
                                          .round = effect.round,
                                          .rank = effect.rank});
}

void ShardProcess::Do(const core::ReportWaiting& effect, Link*) {
  world().Trace("shard $0: rank $1 waits for a newer version than $2", index_, effect.rank, effect.given);
  TellCoordinator(core::RankWaits{.shard = index_,
                                  .incarnation = incarnation_,
                                  .generation = effect.generation,
                                  .rank = effect.rank,
                                  .given = effect.given});
}

void ShardProcess::Do(const core::DropContributions&, Link*) { store_.DropContributions(); }

void ShardProcess::Do(const core::AnswerSealed& effect, Link*) {
  world().Trace("shard $0 is sealed for generation $1, next is round $2", index_, effect.generation, effect.next);
  if (effect.completed_in > Generation(0) && next_before_ < core_.next_round()) {
    world().Count(Occurrence::kCompleteAfterSeal);
  }
  world().Expect(journal_.Safe().next() >= effect.next,
                 absl::StrCat("shard ", index_.value(), " answers a Seal with what its disk may yet lose (G5)"));
  const core::ShardSealed answer{.shard = index_,
                                 .incarnation = incarnation_,
                                 .generation = effect.generation,
                                 .next = effect.next,
                                 .completed_in = effect.completed_in,
                                 .blank = effect.blank,
                                 .completed_in_before = effect.completed_in_before,
                                 .committed = effect.committed};
  auto* coordinator = static_cast<CoordinatorProcess*>(&coordinator_->process(End::kServer));
  coordinator_->Send(End::kServer, [coordinator, answer] { coordinator->OnSealed(answer); });
}

void ShardProcess::Do(const core::AnswerInstalled& effect, Link*) {
  world().Trace("shard $0 has installed generation $1, next is round $2", index_, effect.generation,
                core_.next_round());
  world().Remark(effect.status.message());
  sealed_not_installed_ = false;
  world().Expect(!effect.status.ok() || journal_.Safe().installed() == effect.generation,
                 absl::StrCat("shard ", index_.value(), " has installed generation ", effect.generation.value(),
                              " before its journal has it (G5)"));
  const core::ShardInstalled answer{index_, core_.incarnation(), effect.generation,
                                    std::string(effect.status.message())};
  auto* coordinator = static_cast<CoordinatorProcess*>(&coordinator_->process(End::kServer));
  coordinator_->Send(End::kServer, [coordinator, answer] { coordinator->OnInstalled(answer); });
}

}  // namespace lockstep::sim
