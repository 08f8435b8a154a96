#include "server/core/shard.h"

#include <algorithm>
#include <cassert>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/mutation.h"
#include "common/weight.h"

namespace lockstep::core {
namespace {

uint32_t GroupOf(Rank rank) { return rank.value() / kGroupSize; }

void Reject(absl::Status status, ShardEffects& effects) { effects.push_back(RejectConnection{std::move(status)}); }

}  // namespace

// ---- Memory ----

bool ShardMemory::Add(const JournalRound& round) {
  if (round.generation < installed_) return false;
  if (Has(round.version)) {
    installed_ = round.generation;
    return true;
  }
  if (!begun_) {
    begun_ = true;
    next_ = round.version;
  } else if (installed_ > Generation(0) && round.generation != installed_) {
    return false;
  }
  if (round.version != next_) return false;
  installed_ = round.generation;
  before_ = std::move(newest_);
  newest_ = {.completed_in = round.generation, .participants = round.participants};
  next_ = next_.next();
  tentative_ = true;
  return true;
}

bool ShardMemory::Add(const JournalInstall& install) {
  if (install.generation <= installed_) return false;
  if (!begun_) {
    begun_ = true;
    next_ = install.resume;
  }
  const bool undoes = tentative_ && install.resume.next() == next_ && !Mutated(Mutation::kReplayForgetsUndo);
  const bool older = checkpoint_ && install.resume <= *checkpoint_;  // its rounds are in the checkpoint
  if (!undoes && !older && install.resume != next_) return false;
  if (undoes) {
    next_ = install.resume;
    newest_ = std::move(before_);
  }
  installed_ = install.generation;
  tentative_ = false;
  return true;
}

ShardCore::ShardCore(Incarnation self, const ShardMemory& memory, uint32_t blocks, Durability durability)
    : self_(self),
      journal_(durability == Durability::kJournal),
      installed_(memory.installed_),
      next_(memory.next_),
      newest_(memory.newest_),
      before_(memory.before_),
      tentative_(memory.tentative_ && !Mutated(Mutation::kReplayForgetsPending)),
      slots_(blocks) {}

// ---- Generations ----

void ShardCore::Step(const SealShard& event, absl::Time, ShardEffects& effects) {
  if (event.to != self_ || event.generation <= installed_ || event.generation < sealed_) return;
  if (event.generation > sealed_ && !Mutated(Mutation::kKeepContributions)) effects.push_back(DropContributions{});
  sealed_ = event.generation;
  seal_unanswered_ = true;
  AnswerSealWhenQuiet(effects);
}

void ShardCore::AnswerSealWhenQuiet(ShardEffects& effects) {
  if (!seal_unanswered_ || ((computing_ > 0 || journaling_) && !Mutated(Mutation::kAnswerSealAtOnce))) return;
  seal_unanswered_ = false;
  effects.push_back(
      AnswerSealed{.generation = sealed_,
                   .has = {.next = next_,
                           .completed_in = newest_.completed_in,
                           .completed_in_before = tentative_ ? before_.completed_in : Generation(0),
                           .committed = !tentative_ && next_ > Round(0),
                           .blank = installed_ == Generation(0) || (!serving_ && Mutated(Mutation::kForgetItsPast))}});
}

absl::Status ShardCore::CheckInstall(const InstallGeneration& event) const {
  const uint64_t mine = next_.value();
  const uint64_t resume = event.resume.value();
  if (mine < resume) {
    return absl::DataLossError(absl::StrCat("this shard has lost its memory: the run resumes at round ", resume,
                                            ", but the newest version here is ",
                                            mine == 0 ? "none" : absl::StrCat(mine - 1)));
  }
  if (mine > resume + 1 || (mine == resume + 1 && !tentative_)) {
    return absl::DataLossError(absl::StrCat("version ", mine - 1,
                                            " is committed, but another shard can only resume at round ", resume,
                                            ": it has lost its memory"));
  }
  return absl::OkStatus();
}

void ShardCore::Step(const InstallGeneration& event, absl::Time now, ShardEffects& effects) {
  const bool awaited = event.to == self_ && event.generation > installed_ && event.generation == sealed_;
  if (!awaited || seal_unanswered_ || computing_ > 0 || journaling_) return;
  if (absl::Status status = CheckInstall(event); !status.ok()) {
    effects.push_back(AnswerInstalled{.generation = event.generation, .status = std::move(status)});
    return;
  }
  if (!Mutated(Mutation::kKeepContributions)) effects.push_back(DropContributions{});
  UndoBeyond(event.resume, effects);
  Commit(effects);
  workers_.clear();
  decided_ = event.decided;
  for (const Member& member : event.members) {
    workers_.push_back(
        {.member = member, .attached = {}, .given = event.resume == Round(0) ? event.resume : event.resume.previous()});
  }
  slots_.resize(event.blocks);
  OpenRound();
  for (Rank rank : event.excluded) {
    if (Worker* worker = Find(rank); worker != nullptr) worker->excluded = true;
  }
  installing_ = event.generation;
  if (!journal_ || Mutated(Mutation::kInstallUnjournaled)) return Serve(now, effects);
  StartJournaling(now);
  effects.push_back(JournalInstall{.generation = event.generation, .resume = event.resume});
}

void ShardCore::Step(const InstallJournaled& event, absl::Time now, ShardEffects& effects) {
  if (!journaling_ || event.generation != installing_) return;
  journaling_ = false;
  Serve(now, effects);
  AnswerSealWhenQuiet(effects);
}

// The generation is installed for good.
void ShardCore::Serve(absl::Time now, ShardEffects& effects) {
  installed_ = installing_;
  serving_ = true;
  if (completed_at_ == absl::InfinitePast()) completed_at_ = now;
  effects.push_back(AnswerInstalled{.generation = installed_, .status = absl::OkStatus()});
}

// Takes back what lies beyond version resume - 1: the blocks closed in a round that is not complete, or a whole
// version.
void ShardCore::UndoBeyond(Round resume, ShardEffects& effects) {
  UndoBlocks undo;
  const bool whole_version = next_ > resume;
  for (uint32_t s = 0; s < slots_.size(); ++s) {
    if (whole_version || slots_[s].phase == Phase::kClosed) undo.slots.push_back(Slot(s));
  }
  if (whole_version) {
    next_ = resume;
    if (!Mutated(Mutation::kForgetCompletion)) newest_ = std::move(before_);
    tentative_ = false;
  }
  if (!undo.slots.empty() && !Mutated(Mutation::kForgetUndo)) effects.push_back(std::move(undo));
}

void ShardCore::Commit(ShardEffects& effects) {
  if (!tentative_) return;
  tentative_ = false;
  effects.push_back(CommitVersion{next_.previous()});
}

// ---- Connections ----

bool ShardCore::IsMember(const Member& who) const {
  return std::any_of(workers_.begin(), workers_.end(), [&](const Worker& worker) { return worker.member == who; });
}

ShardCore::Worker* ShardCore::Find(Rank rank) {
  auto at = std::lower_bound(workers_.begin(), workers_.end(), rank,
                             [](const Worker& worker, Rank r) { return worker.member.rank < r; });
  return at != workers_.end() && at->member.rank == rank ? &*at : nullptr;
}

void ShardCore::Step(const AttachWorker& event, absl::Time, ShardEffects& effects) {
  if (event.generation < installed_ || (event.generation == installed_ && !serving())) {
    ++stale_;
    return;  // the worker will attach again with the generation that is being installed
  }
  if (event.generation > installed_) {
    return Reject(absl::FailedPreconditionError(absl::StrCat("this shard has installed generation ", installed_.value(),
                                                             ", not ", event.generation.value(), ": attach again")),
                  effects);
  }
  Worker* worker = Find(event.who.rank);
  if (worker == nullptr || worker->member.incarnation != event.who.incarnation) {
    return Reject(absl::PermissionDeniedError(absl::StrCat("fenced: rank ", event.who.rank.value(), " of generation ",
                                                           installed_.value(), " is held by another incarnation")),
                  effects);
  }
  if (event.next > next_) {
    return Reject(
        absl::FailedPreconditionError(absl::StrCat("the worker holds version ", event.next.value() - 1, ", but round ",
                                                   next_.value(), " is still being collected here")),
        effects);
  }
  if (!worker->attached.empty() && worker->attached.size() != event.connections) {
    return Reject(absl::InvalidArgumentError(absl::StrCat("rank ", event.who.rank.value(), " attached with ",
                                                          event.connections, " connections; expected ",
                                                          worker->attached.size(), " as on its other streams")),
                  effects);
  }
  worker->attached.resize(event.connections, false);
  worker->attached[event.connection] = true;
  AttachWorker attach = event;
  // Its contribution may have overtaken this attach on another connection: then it holds the version before.
  if (worker->begun) attach.next = next_;
  if (!decided_) return SendMissed(attach, effects);
  if (attach.next <= worker->given) SendGiven(*worker, event.connection, effects);
}

// What the connection would have been sent, had it been attached all the time.
void ShardCore::SendMissed(const AttachWorker& event, ShardEffects& effects) const {
  if (Mutated(Mutation::kForgetMissed)) return;
  const bool lacks_version = event.next < next_ && !Mutated(Mutation::kSendTooOld);
  const Version version = lacks_version ? next_.previous() : next_;
  const Destinations to = {{event.who.rank, event.connection}};
  for (uint32_t s = event.connection; s < slots_.size(); s += event.connections) {
    if (lacks_version || slots_[s].phase == Phase::kClosed) {
      effects.push_back(SendBlock{.generation = installed_, .version = version, .slot = Slot(s), .to = to});
    }
  }
  if (lacks_version) {
    effects.push_back(SendComplete{.generation = installed_,
                                   .version = version,
                                   .completed_in = newest_.completed_in,
                                   .participants = newest_.participants,
                                   .to = to});
  }
}

// What the rank may be sent, as far as it is here, on one of its connections. The coordinator must choose again if it
// is not here any more.
void ShardCore::SendGiven(Worker& worker, uint32_t connection, ShardEffects& effects) const {
  if (connection > 0 && connection >= slots_.size()) return;  // carries nothing that a rank would wait for
  const Round follows = worker.given.next();
  // Or blocks of the version after it have taken its place.
  if (follows < next_ || (follows == next_ && closed_ > 0)) return AskForNewer(worker, effects);
  SendMissed({.who = worker.member,
              .generation = installed_,
              .next = worker.given,
              .connection = connection,
              .connections = static_cast<uint32_t>(worker.attached.size())},
             effects);
}

void ShardCore::AskForNewer(Worker& worker, ShardEffects& effects) const {
  if (std::exchange(worker.waiting, true)) return;
  effects.push_back(ReportWaiting{.generation = installed_, .rank = worker.member.rank, .given = worker.given});
}

void ShardCore::Step(const ServeRank& event, absl::Time, ShardEffects& effects) {
  Worker* worker = Find(event.rank);
  if (event.generation != installed_ || !serving() || !decided_ || worker == nullptr || event.version > next_) {
    ++stale_;
    return;
  }
  worker->given = event.version;
  worker->waiting = false;
  for (uint32_t c = 0; c < worker->attached.size(); ++c) {
    if (worker->attached[c]) SendGiven(*worker, c, effects);
  }
}

void ShardCore::Step(const DetachWorker& event, absl::Time, ShardEffects&) {
  Worker* worker = Find(event.rank);
  if (worker != nullptr && event.connection < worker->attached.size()) worker->attached[event.connection] = false;
}

Destinations ShardCore::AttachedTo(Slot slot) const {
  Destinations to;
  for (const Worker& worker : workers_) {
    if (worker.attached.empty() || (decided_ && worker.given != next_ && !Mutated(Mutation::kGiveUnasked))) continue;
    const auto connection = static_cast<uint32_t>(slot.value() % worker.attached.size());
    if (worker.attached[connection]) to.push_back({worker.member.rank, connection});
  }
  return to;
}

// ---- Contributions ----

ShardCore::Worker* ShardCore::Admit(const Member& who, Generation generation, Round round, float weight, absl::Time now,
                                    ShardEffects& effects) {
  if (Mutated(Mutation::kTakeOldGeneration) && generation < installed_) generation = installed_;
  if (generation < installed_ || (generation == installed_ && !serving())) {
    ++stale_;
    return nullptr;
  }
  if (generation > installed_) {
    Reject(absl::FailedPreconditionError(absl::StrCat("this shard has installed generation ", installed_.value(),
                                                      ", not ", generation.value(), ": attach again")),
           effects);
    return nullptr;
  }
  Worker* worker = Find(who.rank);
  if (worker == nullptr || worker->member.incarnation != who.incarnation) {
    Reject(
        absl::PermissionDeniedError(absl::StrCat(
            "fenced: rank ", who.rank.value(), " incarnation ", who.incarnation.value(), " is no member of generation ",
            installed_.value(), " (the frame says generation ", generation.value(), ")")),
        effects);
    return nullptr;
  }
  if (decided_ && IsLate(*worker, round)) {
    ++late_;
    if (!Mutated(Mutation::kForgetLate)) AskForNewer(*worker, effects);
    return nullptr;
  }
  if (round < next_) {
    ++duplicates_;
    return nullptr;
  }
  if (round > next_ || !worker->contributes) {
    const std::string expected = round > next_ ? absl::StrCat("round ", next_.value())
                                               : std::string("nothing in round 0 from a rank other than the lowest");
    Reject(absl::InvalidArgumentError(absl::StrCat("a contribution of rank ", who.rank.value(), " to round ",
                                                   round.value(), " came; expected ", expected)),
           effects);
    return nullptr;
  }
  if (!IsWeight(weight) || (worker->begun && weight != worker->weight)) {
    Reject(absl::InvalidArgumentError(absl::StrCat(
               "rank ", who.rank.value(), " gave weight ", weight, " in round ", round.value(), "; expected ",
               worker->begun ? absl::StrCat(worker->weight, " as in its other blocks of this round")
                             : absl::StrCat("a number from 0 to ", kMaxWeight))),
           effects);
    return nullptr;
  }
  if (!Mutated(Mutation::kForgetCommit)) Commit(effects);  // whoever contributes to this round holds the version before
  worker->begun = true;
  worker->weight = weight;
  first_arrival_ = std::min(first_arrival_, now);
  return worker;
}

// Its round was closed without it.
bool ShardCore::IsLate(const Worker& worker, Round round) const {
  if (round < next_) return worker.given < round;
  return round == next_ && round > Round(0) && !undecided_ && !worker.contributes;
}

void ShardCore::Step(const ContributeBlock& event, absl::Time now, ShardEffects& effects) {
  if (event.slot.value() >= slots_.size() && event.generation == installed_) {
    return Reject(absl::InvalidArgumentError(absl::StrCat("a contribution to block ", event.slot.value(),
                                                          " of this shard came; it holds ", slots_.size())),
                  effects);
  }
  Worker* worker = Admit(event.who, event.generation, event.round, event.weight, now, effects);
  if (worker == nullptr) return;
  if (received_[ReceivedIndex(worker - workers_.data(), event.slot)] && !Mutated(Mutation::kCountDuplicate)) {
    ++duplicates_;
    return;
  }
  TakeBlock(*worker, event.slot, /*payload=*/!worker->excluded, effects);
  if (worker->received == slots_.size()) NoteArrival(*worker, now, effects);
}

void ShardCore::Step(const ContributeEmpty& event, absl::Time now, ShardEffects& effects) {
  if (event.generation == installed_ && !slots_.empty() && (event.weight != 0 || event.round == Round(0))) {
    return Reject(absl::InvalidArgumentError(
                      absl::StrCat("rank ", event.who.rank.value(), " sent no payload for round ", event.round.value(),
                                   " with weight ", event.weight, "; only weight 0 may come without")),
                  effects);
  }
  Worker* worker = Admit(event.who, event.generation, event.round, event.weight, now, effects);
  if (worker == nullptr) return;
  if (worker->arrived != absl::InfinitePast()) {
    ++duplicates_;
    return;
  }
  for (uint32_t s = 0; s < slots_.size(); ++s) {
    if (!received_[ReceivedIndex(worker - workers_.data(), Slot(s))]) {
      TakeBlock(*worker, Slot(s), /*payload=*/false, effects);
    }
  }
  NoteArrival(*worker, now, effects);
  CompleteIfClosed(Slot(0), now, effects);
}

void ShardCore::NoteArrival(Worker& worker, absl::Time now, ShardEffects& effects) {
  worker.arrived = now;
  ++whole_;
  if (undecided_) {
    effects.push_back(ReportWhole{.generation = installed_, .round = next_, .rank = worker.member.rank});
  }
}

void ShardCore::Step(const CloseRound& event, absl::Time now, ShardEffects& effects) {
  const auto whole = [this](Rank rank) {
    const Worker* worker = Find(rank);
    return worker != nullptr && worker->arrived != absl::InfinitePast();
  };
  if (event.generation != installed_ || !serving() || !undecided_ || event.round != next_ ||
      event.participants.empty() || !std::all_of(event.participants.begin(), event.participants.end(), whole)) {
    ++stale_;
    return;
  }
  undecided_ = false;
  contributors_ = whole_ = static_cast<uint32_t>(event.participants.size());
  groups_.clear();
  DropRanks drop;
  for (Worker& worker : workers_) {
    const Rank rank = worker.member.rank;
    worker.contributes = std::binary_search(event.participants.begin(), event.participants.end(), rank) ||
                         (Mutated(Mutation::kReduceAll) && worker.arrived != absl::InfinitePast());
    if (worker.contributes) {
      if (!Mutated(Mutation::kGiveNobody)) worker.given = next_;
      worker.waiting = false;
      CountInGroup(rank);
    } else if (worker.begun) {
      drop.ranks.push_back(rank);
      if (!Mutated(Mutation::kForgetDropped)) AskForNewer(worker, effects);
    }
  }
  if (!drop.ranks.empty() && !Mutated(Mutation::kKeepDropped)) effects.push_back(std::move(drop));
  for (uint32_t s = 0; s < slots_.size(); ++s) StartSlot(Slot(s), effects);
  CompleteIfClosed(Slot(0), now, effects);
}

// Every contribution that counts is here.
void ShardCore::StartSlot(Slot slot, ShardEffects& effects) {
  slots_[slot.value()].received = contributors_;
  if (!grouped()) return StartReduction(slot, effects);
  for (uint32_t group = 0; group < groups_.size(); ++group) {
    if (groups_[group].size > 0) SumWholeGroup(slot, group, effects);
  }
}

void ShardCore::TakeBlock(Worker& worker, Slot slot, bool payload, ShardEffects& effects) {
  received_[ReceivedIndex(&worker - workers_.data(), slot)] = true;
  ++worker.received;
  SlotState& state = slots_[slot.value()];
  ++state.received;
  if (payload) effects.push_back(KeepPayload{worker.member.rank, slot});
  if (undecided_ && !Mutated(Mutation::kReduceUndecided)) return;
  if (grouped()) {
    const uint32_t group = GroupOf(worker.member.rank);
    if (GroupIsWhole(slot, group)) SumWholeGroup(slot, group, effects);
  } else if (state.received + (contributors_ > 1 && Mutated(Mutation::kCloseBlockEarly)) == contributors_) {
    StartReduction(slot, effects);
  }
}

bool ShardCore::GroupIsWhole(Slot slot, uint32_t group) const {
  uint32_t received = 0;
  for (size_t w = 0; w < workers_.size(); ++w) {
    if (GroupOf(workers_[w].member.rank) == group) received += received_[ReceivedIndex(w, slot)];
  }
  return received + (groups_[group].size > 1 && Mutated(Mutation::kSumGroupEarly)) == groups_[group].size;
}

void ShardCore::SumWholeGroup(Slot slot, uint32_t group, ShardEffects& effects) {
  SumGroup sum{.slot = slot, .group = group, .contributors = {}};
  for (const Worker& worker : workers_) {
    if (worker.contributes && GroupOf(worker.member.rank) == group) {
      sum.contributors.push_back(WeightOf(worker));
    }
  }
  ++computing_;
  effects.push_back(std::move(sum));
}

void ShardCore::Step(const GroupSummed& event, absl::Time, ShardEffects& effects) {
  assert(computing_ > 0);
  --computing_;
  if (sealed_ > installed_) return AnswerSealWhenQuiet(effects);
  SlotState& state = slots_[event.slot.value()];
  const auto used = std::count_if(groups_.begin(), groups_.end(), [](const Group& group) { return group.size > 0; });
  if (++state.groups_summed == static_cast<uint32_t>(used)) StartReduction(event.slot, effects);
}

// The block stays open for ever: not even what is sent again can reduce it in this generation.
void ShardCore::Step(const ReductionRefused&, absl::Time, ShardEffects& effects) {
  assert(computing_ > 0);
  --computing_;
  AnswerSealWhenQuiet(effects);
}

void ShardCore::StartReduction(Slot slot, ShardEffects& effects) {
  ReduceBlock reduce{.round = next_, .slot = slot, .grouped = grouped(), .contributors = {}};
  for (const Worker& worker : workers_) {
    if (worker.contributes) reduce.contributors.push_back(WeightOf(worker));
  }
  if (Mutated(Mutation::kLeaveOneOut) && reduce.contributors.size() > 1) reduce.contributors.pop_back();
  if (Mutated(Mutation::kReduceBackwards)) std::reverse(reduce.contributors.begin(), reduce.contributors.end());
  if (Mutated(Mutation::kForgetWeight)) {
    for (Weighted& who : reduce.contributors) who.weight = who.weight > 0 ? 1 : 0;
  }
  slots_[slot.value()].phase = Phase::kReducing;
  ++computing_;
  effects.push_back(std::move(reduce));
}

// ---- Closing and completing ----

void ShardCore::Step(const BlockReduced& event, absl::Time now, ShardEffects& effects) {
  assert(computing_ > 0 && slots_[event.slot.value()].phase == Phase::kReducing);
  --computing_;
  slots_[event.slot.value()].phase = Phase::kClosed;
  ++closed_;
  if (IsReduced() || Mutated(Mutation::kCompleteBeforeClosed)) {
    CompleteIfClosed(event.slot, now, effects);
  } else if (Destinations to = AttachedTo(event.slot); !to.empty()) {
    effects.push_back(SendBlock{.generation = installed_, .version = next_, .slot = event.slot, .to = std::move(to)});
  }
  AnswerSealWhenQuiet(effects);
}

std::vector<Rank> ShardCore::Contributors() const {
  std::vector<Rank> ranks;
  for (const Worker& worker : workers_) {
    if (worker.contributes && !worker.excluded) ranks.push_back(worker.member.rank);
  }
  if (Mutated(Mutation::kNameWrongParticipants) && ranks.size() > 1) ranks.erase(ranks.begin());
  return ranks;
}

// `last`: the block that closed last.
void ShardCore::CompleteIfClosed(Slot last, absl::Time now, ShardEffects& effects) {
  const bool early = Mutated(Mutation::kCompleteBeforeClosed) && closed_ + 1 == slots_.size() && !journaling_;
  if (!IsReduced() && !early) return;
  last_ = last;
  if (!journal_ || Mutated(Mutation::kCompleteUnjournaled)) return Complete(now, effects);
  StartJournaling(now);
  const bool nothing = next_ > Round(0) && std::all_of(workers_.begin(), workers_.end(), [](const Worker& worker) {
                         return !worker.contributes || WeightOf(worker).weight == 0;
                       });
  effects.push_back(
      JournalRound{.generation = installed_, .version = next_, .nothing = nothing, .participants = Contributors()});
}

void ShardCore::Step(const RoundJournaled& event, absl::Time now, ShardEffects& effects) {
  if (!journaling_ || event.generation != installed_ || event.version != next_) return;
  journaling_ = false;
  Complete(now, effects);
  AnswerSealWhenQuiet(effects);
}

void ShardCore::Complete(absl::Time now, ShardEffects& effects) {
  RecordTimes(now);
  before_ = std::move(newest_);
  newest_ = {.completed_in = installed_, .participants = last_round_.participants};
  tentative_ = true;
  const Destinations to = AttachedTo(last_);
  if (!slots_.empty() && !to.empty() && !Mutated(Mutation::kForgetLastBlock)) {
    effects.push_back(SendBlock{.generation = installed_, .version = next_, .slot = last_, .to = to});
  }
  SendComplete complete{.generation = installed_,
                        .version = next_,
                        .completed_in = installed_,
                        .participants = newest_.participants,
                        .to = to};
  if (!to.empty()) effects.push_back(std::move(complete));
  next_ = next_.next();
  if (Mutated(Mutation::kCommitEarly)) Commit(effects);
  OpenRound();
}

void ShardCore::RecordTimes(absl::Time now) {
  last_round_ = {.version = next_,
                 .generation = installed_,
                 .participants = Contributors(),
                 .duration = now - completed_at_,
                 .collect = absl::ZeroDuration(),
                 .last = Rank(0),
                 .last_by = absl::ZeroDuration(),
                 .journal = absl::ZeroDuration()};
  absl::Time last = absl::InfinitePast();
  absl::Time before = absl::InfinitePast();
  for (const Worker& worker : workers_) {
    if (!worker.contributes) continue;
    before = std::max(before, std::min(last, worker.arrived));
    if (worker.arrived > last || last == absl::InfinitePast()) {
      last = worker.arrived;
      last_round_.last = worker.member.rank;
    }
  }
  if (journal_) last_round_.journal = now - journaling_since_;
  last_round_.collect = last - first_arrival_;
  if (before != absl::InfinitePast()) last_round_.last_by = last - before;
  completed_at_ = now;
}

void ShardCore::OpenRound() {
  contributors_ = 0;
  whole_ = 0;
  groups_.clear();
  first_arrival_ = absl::InfiniteFuture();
  for (size_t w = 0; w < workers_.size(); ++w) {
    Worker& worker = workers_[w];
    worker.contributes = next_ > Round(0) || w == 0;
    worker.excluded = false;
    worker.begun = false;
    worker.received = 0;
    worker.arrived = absl::InfinitePast();
    if (!worker.contributes) continue;
    ++contributors_;
    CountInGroup(worker.member.rank);
  }
  undecided_ = decided_ && next_ > Round(0);
  ResetSlots();
}

void ShardCore::CountInGroup(Rank rank) {
  const uint32_t group = GroupOf(rank);
  if (group >= groups_.size()) groups_.resize(group + 1);
  ++groups_[group].size;
}

void ShardCore::ResetSlots() {
  std::fill(slots_.begin(), slots_.end(), SlotState{});
  received_.assign(slots_.size() * workers_.size(), false);
  closed_ = 0;
}

std::vector<Missing> ShardCore::MissingBlocks() const {
  std::vector<Missing> missing;
  for (const Worker& worker : workers_) {
    const bool whole = !worker.contributes || worker.arrived != absl::InfinitePast();
    const uint32_t lacking = slots_.empty() ? 1 : blocks() - worker.received;
    missing.push_back({worker.member.rank, whole ? 0 : lacking, 0});
  }
  for (uint32_t s = 0; s < slots_.size(); ++s) {
    if (slots_[s].received == 0 || slots_[s].received == contributors_) continue;
    for (size_t w = 0; w < workers_.size(); ++w) {
      if (workers_[w].contributes && !received_[ReceivedIndex(w, Slot(s))]) ++missing[w].awaited;
    }
  }
  return missing;
}

}  // namespace lockstep::core
