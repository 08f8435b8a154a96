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
      core_(Recover()),
      background_(world, *this, [&directory, index] { directory.crash_shard(index); }) {
  const std::optional<ShardBase>& base = directory.bases[index.value()];
  if (base_loaded_ && !damaged_ && !base->compacted) part_ = base->part;
  const ShardProcess* before = directory.shards[index.value()];
  if (before != nullptr) members_ = before->members_;
}

void ShardProcess::Start() {
  if (world().plan().elements[index_.value()].empty()) world().Count(Occurrence::kShardWithoutBlocks);
  if (back_tentative_) world().Count(Occurrence::kShardBackTentative);
  if (replayed_nothing_) world().Count(Occurrence::kReplayedNothing);
  if (replayed_undo_) world().Count(Occurrence::kReplayedUndo);
  if (damaged_) world().Count(Occurrence::kBackAfterHalfRestore);
  if (base_loaded_) world().Count(Occurrence::kBackFromBase);
  if (world().plan().checkpoints.rounds > 0) ReportLater();
  if (recovered_ && world().has(PlantedBug::kServesAtOnce)) ServeAtOnce();
  if (!recovered_ || world().has(PlantedBug::kForgetsSync)) return OpenCoordinatorLink();
  journal_.Sync(*this, [this] { OpenCoordinatorLink(); });
}

// ---- The journal ----

core::Durability ShardProcess::durability() const {
  const bool journal = const_cast<ShardProcess*>(this)->world().plan().checkpoints.journal;
  return journal ? core::Durability::kJournal : core::Durability::kCheckpoint;
}

core::ShardCore ShardProcess::Recover() {
  size_t records = journal_.whole();
  if (records > 0 && world().has(PlantedBug::kReplayLosesTail)) --records;
  recovered_ = records > 0;
  if (!recovered_) return NewCore();
  core::ShardMemory memory;
  bool valid = LoadBase(memory);
  if (const auto install = journal_.forgotten(); valid && install) valid = Replay({*install, {}}, memory);
  for (size_t i = journal_.first(); valid && i < records; ++i) valid = Replay(journal_.records()[i], memory);
  if (!valid) {
    // It has begun to go back, and died before its journal began anew: what it had is given up, by all or none.
    const std::optional<ShardBase>& base = directory_.bases[index_.value()];
    world().Expect(base && base->restored && directory_.newest_announced < world().oracle().began(),
                   "a shard that comes back finds a record that no shard writes here (G5)");
    damaged_ = true;
    recovered_ = false;
    store_.Clear();
    return NewCore();
  }
  world().Trace("shard $0 comes back to generation $1, round $2, tentative: $3", index_, memory.installed(),
                memory.next(), memory.tentative());
  back_tentative_ = memory.tentative();
  if (back_tentative_ && world().has(PlantedBug::kReplayCommits)) store_.Commit(memory.next().previous());
  return core::ShardCore(incarnation_, memory, static_cast<uint32_t>(store_.size()));
}

// False: it is gone.
bool ShardProcess::LoadBase(core::ShardMemory& memory) {
  const std::optional<ShardBase>& base = directory_.bases[index_.value()];
  if (!base) return true;
  const CheckpointFile* file =
      base->compacted ? base->compacted.get() : directory_.checkpoints->Find(index_, base->part.version);
  world().Expect(file != nullptr && file->part.head_xxh3_128 == base->part.head_xxh3_128,
                 absl::StrCat("shard ", index_.value(),
                              " comes back, and the checkpoint that its journal goes on "
                              "from is gone (G5)"));
  if (file == nullptr) return false;
  base_loaded_ = base->part.version;
  store_.Restore(base->part.version, file->blocks);
  memory = core::ShardMemory(base->part.version,
                             {.completed_in = base->part.completed_in, .participants = base->part.participants});
  return true;
}

// False: no shard writes such a record there.
bool ShardProcess::Replay(const JournalRecord& record, core::ShardMemory& memory) {
  if (std::holds_alternative<JournalBegins>(record.what)) return true;  // what it says is in the base, or a newer one
  const auto* round = std::get_if<core::JournalRound>(&record.what);
  if (memory.empty() && round != nullptr && round->version > Version(0)) return false;  // nothing holds the one before
  const Round before = memory.next();
  const bool tentative = memory.tentative();
  const bool known = round != nullptr && memory.Has(round->version);
  if (!(round != nullptr ? memory.Add(*round) : memory.Add(std::get<core::JournalInstall>(record.what)))) return false;
  if (known) return true;
  if (round != nullptr) ++replayed_;
  const bool undone = memory.next() < before;
  if (tentative && !undone) store_.Commit(before.previous());
  if (round != nullptr) {
    replayed_nothing_ |= round->nothing;
    store_.Replay(round->version, round->nothing, record.blocks);
  }
  if (!undone) return true;
  replayed_undo_ = true;
  for (uint32_t s = 0; s < store_.size() && !world().has(PlantedBug::kReplayForgetsUndo); ++s) store_.Undo(Slot(s));
  return true;
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
  core_.Step(core::SealShard{generation, incarnation_}, clock(), ignored);
  core_.Step(core::InstallGeneration{.generation = generation,
                                     .to = incarnation_,
                                     .resume = next,
                                     .members = members_,
                                     .blocks = static_cast<uint32_t>(store_.size())},
             clock(), ignored);
  core_.Step(core::InstallJournaled{generation}, clock(), ignored);
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
  const std::optional<core::CheckpointPart> begins = std::exchange(begins_, std::nullopt);
  const auto install = [this, effect] { Write({effect, {}}, core::InstallJournaled{effect.generation}); };
  if (!begins || world().has(PlantedBug::kKeepsOldJournal)) return install();
  journal_.Append(*this, {JournalBegins{begins->version, {begins->completed_in, begins->participants}}, {}}, install);
}

void ShardProcess::Crash() {
  world().Count(Occurrence::kShardCrash);
  if (computing_ > 0) world().Count(Occurrence::kCrashWhileReducing);
  if (sealed_not_installed_) world().Count(Occurrence::kCrashWhileSealed);
  if (core_.journaling())
    world().Count(installing_ ? Occurrence::kCrashWhileInstalling : Occurrence::kCrashWhileJournaling);
  if (restoring_) world().Count(Occurrence::kCrashWhileRestoring);
  background_.Crash();
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
  core_.Step(event, clock(), effects);
  CountIgnored(duplicates, stale);
  if (core_.late() > late) world().Count(Occurrence::kLateContribution);
  world().Expect(core_.generation() >= generation, "a shard's generation goes back (G3)");
  if (!journals() && core_.next_round() > next_before_) {
    world().NoteMade(core_.completed_in(), core_.next_round().previous(), core_.participants());
  }
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
  if (restoring_) {
    deferred_seal_ = event;
    return;
  }
  const bool news = event.to == incarnation_ && event.generation > core_.generation();
  if (news && computing_ > 0) world().Count(Occurrence::kSealWhileReducing);
  sealed_not_installed_ |= news;
  Step(event);
}

void ShardProcess::OnInstall(core::InstallGeneration event, std::optional<Version> restore) {
  if (restoring_) return;  // for a generation that has been overtaken, or this very one
  event.blocks = static_cast<uint32_t>(store_.size());
  if (event.to != incarnation_) {
    world().Count(Occurrence::kSealOfOtherLife);
  } else {
    installed_ = true;
    members_ = event.members;
    const auto& held = world().oracle().Held(event.generation);
    world().Expect(!held || event.resume > *held,
                   absl::StrCat("a generation resumes at round ", event.resume.value(), ", but version ",
                                held ? held->value() : 0, " was held (G5)"));
  }
  if (restore) return StartRestoring(event, *restore);
  Step(event);
  MaybeCompact();
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

void ShardProcess::OnBlock(Link& link, const core::ContributeBlock& event, const std::vector<float>& payload,
                           Generation computed_in) {
  if (rejected_.contains(&link)) return;
  world().Trace("shard $0: rank $1 brings block $2 for round $3, generation $4", index_, event.who.rank, event.slot,
                event.round, event.generation);
  arrived_ = {event, &payload, computed_in};
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
  const bool same = event.round == Round(0) ||
                    world().oracle().SameVersion(event.round.previous(), arrived_.computed_in, event.generation);
  world().Expect(same, "a contribution counts that was computed from a version that the run has given up (G1, G3)");
  store_.Keep(effect.rank, effect.slot, *arrived_.payload);
}

void ShardProcess::Do(const core::RejectConnection& effect, Link* from) {
  world().Trace("shard $0 rejects a stream with code $1", index_, effect.status.code());
  world().Remark(effect.status.message());
  // A shard whose disk is gone, or that died while it went back, knows no generation: to it, any that a worker knows is
  // one that is to come. The worker connects again.
  const bool lost = directory_.lost[index_.value()] || world().oracle().began() > Generation(0);
  const bool knows_nothing = core_.generation() == Generation(0) && lost;
  world().Expect(knows_nothing && absl::IsFailedPrecondition(effect.status),
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
  world().Expect(std::is_sorted(ranks.begin(), ranks.end()),
                 absl::StrCat("round ", reduce.round.value(), " is reduced in another order than that of ranks (G4)"));
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
  if (world().violation()) return;  // what computes it ends the program for less
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
  world().Expect(!journals() || journal_.Safe().next() > effect.version,
                 absl::StrCat("shard ", index_.value(), " calls version ", effect.version.value(),
                              " complete before its journal has it (G5)"));
  if (recovered_ && installed_) world().Count(Occurrence::kServesAfterRestart);
  world().Expect(effect.participants == world().oracle().Participants(effect.generation, effect.version),
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
  MaybeCheckpoint(effect.version);
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

// ---- Checkpoints ----

void ShardProcess::ReportLater() {
  After(absl::Milliseconds(200), [this] {
    if (coordinator_ != nullptr && !finished_) TellCoordinator(core::RoundSeen{core_.next_round()});
    ReportLater();
  });
}

void ShardProcess::OnTakeCheckpoint(Version version) {
  world().Trace("shard $0 is asked for a checkpoint of version $1", index_, version);
  const uint64_t committed = core_.next_round().value() - (core_.tentative() ? 1 : 0);  // all below are
  if (writing_ == version) return;  // the answer comes when it is written
  if (part_ && part_->version == version) return TellPart(*part_);
  if (version.value() < committed) return MissPart(version);
  named_ = version;
}

void ShardProcess::MissPart(Version version) {
  world().Count(Occurrence::kPartMissed);
  TellCoordinator(core::PartMissed{.shard = index_, .version = version, .next = core_.next_round(), .error = ""});
}

void ShardProcess::MaybeCheckpoint(Version committed) {
  if (!named_ || committed < *named_) return;
  const Version named = *std::exchange(named_, std::nullopt);
  if (committed > named || writing_ || compacting_) return MissPart(named);
  world().Trace("shard $0 begins to write a checkpoint of version $1", index_, committed);
  CheckpointFile file = MakeFile(committed, core_.completed_in(), core_.participants(), store_.Snapshot(committed));
  writing_ = committed;
  if (world().has(PlantedBug::kForgetsRoundsEarly)) journal_.Forget(committed, world().random());
  if (world().has(PlantedBug::kTellsPartEarly)) TellPart(file.part);
  const core::CheckpointPart part = file.part;
  background_.Add({{.write = [this, file = std::move(file)] { directory_.checkpoints->PutPart(index_, file); },
                    .crashed = Occurrence::kCrashWritingPart},
                   {.write = [this, part] { SetBase(ShardBase{part}); },
                    .then = [this, part] { PartIsWritten(part); },
                    .crashed = Occurrence::kCrashBeforeBase}});
}

void ShardProcess::MaybeCompact() {
  constexpr uint64_t kLong = 2;  // not as many as a real shard waits for: runs are short here
  if (core_.tentative() || world().plan().checkpoints.rounds == 0) return;
  if (std::exchange(replayed_, 0) < kLong || !journals() || writing_) return;
  if (core_.next_round() == Round(0)) return;  // all was undone
  const Version newest = core_.next_round().previous();
  const std::optional<ShardBase>& base = directory_.bases[index_.value()];
  if (base && base->part.version >= newest) return;
  world().Trace("shard $0 begins to compact its journal up to version $1", index_, newest);
  const auto file = std::make_shared<const CheckpointFile>(
      MakeFile(newest, core_.completed_in(), core_.participants(), store_.Snapshot(newest)));
  compacting_ = true;
  background_.Add({{.crashed = Occurrence::kCrashWritingPart},
                   {.write = [this, file] { SetBase(ShardBase{.part = file->part, .compacted = file}); },
                    .then =
                        [this, newest] {
                          world().Count(Occurrence::kJournalCompacted);
                          compacting_ = false;
                          journal_.Forget(newest, world().random());
                        },
                    .crashed = Occurrence::kCrashBeforeBase}});
}

void ShardProcess::SetBase(const ShardBase& base) {
  directory_.bases[index_.value()] = base;
  journal_.SetBase({base.part.version, {base.part.completed_in, base.part.participants}});
}

void ShardProcess::PartIsWritten(const core::CheckpointPart& part) {
  world().Trace("shard $0 has written its part of version $1", index_, part.version);
  world().Count(Occurrence::kPartWritten);
  part_ = part;
  writing_.reset();
  directory_.checkpoints->RemoveUnfinished(index_, part.version);
  if (journals() && journal_.Forget(part.version, world().random()) > 0) world().Count(Occurrence::kJournalForgets);
  TellPart(part);
  if (world().now() >= world().plan().faults_end) return;
  if (!world().random().Chance(world().plan().faults.lose_in_checkpoint)) return;
  world().At(world().now() + world().random().Skewed(absl::ZeroDuration(), absl::Milliseconds(50)),
             [this] { directory_.lose_any_disk(); });
}

void ShardProcess::TellPart(const core::CheckpointPart& part) {
  world().Expect(world().oracle().Participants(part.completed_in, part.version) == part.participants,
                 "a checkpoint names the wrong participants (G2)");
  TellCoordinator(core::RoundSeen{core_.next_round()});
  TellCoordinator(core::PartWritten{.shard = index_, .part = part});
}

// ---- Going back ----

void ShardProcess::OnFindRestorable(Generation generation, Incarnation to) {
  if (to != incarnation_) return;
  if (writing_) world().Count(Occurrence::kSearchWhileWriting);
  background_.Add({{.then = [this, generation] {
    const bool manifests = !world().has(PlantedBug::kRestoresUnfinished);
    TellCoordinator(core::ShardRestorable{.shard = index_,
                                          .incarnation = incarnation_,
                                          .generation = generation,
                                          .versions = directory_.checkpoints->Restorable(index_, manifests),
                                          .damaged = {}});
  }}});
}

void ShardProcess::StartRestoring(const core::InstallGeneration& event, Version version) {
  const bool awaited =
      event.to == incarnation_ && event.generation > core_.generation() && event.generation == core_.sealed();
  if (!awaited) return;
  world().Trace("shard $0 restores version $1 for generation $2", index_, version, event.generation);
  restoring_ = event.generation;
  named_.reset();
  const auto file = std::make_shared<std::optional<CheckpointFile>>();
  background_.Add({{.then =
                        [this, version, file] {
                          const auto whole = directory_.checkpoints->Restorable(index_, /*manifests=*/false);
                          const bool newest = world().has(PlantedBug::kRestoresNewest) && index_ == ShardIndex(0);
                          const Version which = newest && !whole.empty() ? whole.back().version : version;
                          const CheckpointFile* found = directory_.checkpoints->Find(index_, which);
                          if (found != nullptr) *file = *found;
                        }},
                   {.write =
                        [this, file] {
                          if (*file) SetBase(ShardBase{.part = (*file)->part, .restored = true});
                        },
                    .then = [this, event, file] { FinishRestoring(event, *file); },
                    .crashed = Occurrence::kCrashAfterRestore}});
}

// The core was sealed and quiet when this was started, and answers to nobody until it has ended. Then the shard is as
// one that has just come back with that version.
void ShardProcess::FinishRestoring(const core::InstallGeneration& event, const std::optional<CheckpointFile>& file) {
  restoring_.reset();
  writing_.reset();
  if (!file) {
    TellCoordinator(core::ShardInstalled{index_, incarnation_, event.generation, "the checkpoint is gone"});
    return;
  }
  if (world().now() < world().plan().faults_end && world().random().Chance(world().plan().faults.crash_after_restore)) {
    world().At(world().now() + world().random().Skewed(absl::ZeroDuration(), 2 * world().plan().disk), [this] {
      if (alive()) directory_.crash_shard(index_);
    });
  }
  const core::CheckpointPart& part = file->part;
  part_ = part;
  store_.Restore(part.version, file->blocks);
  if (!world().violation()) store_.CheckBits(event.generation, part.version);
  back_tentative_ = false;
  const core::ShardMemory memory(part.version, {part.completed_in, part.participants}, core_.generation());
  core_ = core::ShardCore(incarnation_, memory, static_cast<uint32_t>(store_.size()), durability());
  if (journals()) begins_ = part;
  if (deferred_seal_) {
    world().Count(Occurrence::kSealWhileRestoring);
    return Step(*std::exchange(deferred_seal_, std::nullopt));
  }
  core::ShardEffects answered;  // it has been, before this began
  core_.Step(core::SealShard{event.generation, incarnation_}, clock(), answered);
  Step(event);
}

void ShardProcess::Do(const core::DropContributions&, Link*) { store_.DropContributions(); }

void ShardProcess::Do(const core::AnswerSealed& effect, Link*) {
  world().Trace("shard $0 is sealed for generation $1, next is round $2", index_, effect.generation, effect.has.next);
  if (effect.has.completed_in > Generation(0) && next_before_ < core_.next_round()) {
    world().Count(Occurrence::kCompleteAfterSeal);
  }
  // What it has restored is safe as soon as it is told to go on from there; until then nobody has been told of it.
  world().Expect(!journals() || begins_ || journal_.Safe().next() >= effect.has.next,
                 absl::StrCat("shard ", index_.value(), " answers a Seal with what its disk may yet lose (G5)"));
  const core::ShardSealed answer{
      .shard = index_, .incarnation = incarnation_, .generation = effect.generation, .has = effect.has};
  auto* coordinator = static_cast<CoordinatorProcess*>(&coordinator_->process(End::kServer));
  coordinator_->Send(End::kServer, [coordinator, answer] { coordinator->OnSealed(answer); });
}

void ShardProcess::Do(const core::AnswerInstalled& effect, Link*) {
  world().Trace("shard $0 has installed generation $1, next is round $2", index_, effect.generation,
                core_.next_round());
  world().Remark(effect.status.message());
  sealed_not_installed_ = false;
  world().Expect(!effect.status.ok() || !journals() || journal_.Safe().installed() == effect.generation,
                 absl::StrCat("shard ", index_.value(), " has installed generation ", effect.generation.value(),
                              " before its journal has it (G5)"));
  const core::ShardInstalled answer{index_, core_.incarnation(), effect.generation,
                                    std::string(effect.status.message())};
  TellCoordinator(answer);
}

}  // namespace lockstep::sim
