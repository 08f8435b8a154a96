#include "server/core/coordinator.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/mutation.h"

namespace lockstep::core {
namespace {

bool Holds(const Seat& seat) {
  return seat.state == SeatState::kJoined || seat.state == SeatState::kActive || seat.state == SeatState::kLost;
}

}  // namespace

// ---- Memory ----

class CoordinatorCore::Transaction {
 public:
  Transaction(CoordinatorCore* core, CoordinatorEffects& effects)
      : core_(core), effects_(effects), first_(effects.size()) {}
  ~Transaction() {
    if (std::exchange(core_->changed_, false) && !Mutated(Mutation::kForgetPersist)) {
      effects_.insert(effects_.begin() + static_cast<ptrdiff_t>(first_), Persist{});
    }
  }

 private:
  CoordinatorCore* const core_;
  CoordinatorEffects& effects_;
  const size_t first_;
};

absl::Status CoordinatorCore::CheckMemory(const CoordinatorOptions& options, const CoordinatorMemory& memory) {
  const auto fits = [&](const CoordinatorMemory::Place& place) { return place.rank.value() < options.ranks(); };
  if (!std::all_of(memory.places.begin(), memory.places.end(), fits)) {
    return absl::InvalidArgumentError(absl::StrCat("run ", memory.run_id, " has had more than ", options.ranks(),
                                                   " ranks: --max-workers cannot be less than that"));
  }
  if (memory.workers == options.workers && memory.shards == options.shards) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("run ", memory.run_id, " was begun with --workers ", memory.workers,
                                                 " --shards ", memory.shards, ", but now it is --workers ",
                                                 options.workers, " --shards ", options.shards,
                                                 ": give the same as before, or begin a new run"));
}

CoordinatorMemory CoordinatorCore::memory() const {
  CoordinatorMemory memory{.run_id = options_.run_id,
                           .workers = options_.workers,
                           .shards = options_.shards,
                           .generation = generation_,
                           .announced = announced_,
                           .places = {},
                           .fenced = {fenced_.begin(), fenced_.end()},
                           .departed = {departed_.begin(), departed_.end()},
                           .model = model_,
                           .done = state_ == RunState::kDone,
                           .excluded = excluded_,
                           .rollback = rollback_,
                           .abandoned = abandoned_};
  std::sort(memory.fenced.begin(), memory.fenced.end());
  std::sort(memory.departed.begin(), memory.departed.end());
  for (const Seat& seat : seats_) {
    if (seat.state == SeatState::kAbsent && !seat.expected) continue;
    memory.places.push_back({.rank = RankOf(seat),
                             .incarnation = seat.incarnation,
                             .name = seat.name,
                             .defined = seat.defined,
                             .left = seat.state == SeatState::kLeft,
                             .replacements = seat.replacements,
                             .expected = seat.expected,
                             .vacant = seat.state == SeatState::kAbsent});
  }
  return memory;
}

CoordinatorCore::CoordinatorCore(CoordinatorOptions options, const CoordinatorMemory& memory, absl::Time now)
    : CoordinatorCore(std::move(options), now) {
  options_.run_id = memory.run_id;
  generation_ = memory.generation;
  announced_ = memory.announced;
  resume_ = memory.announced.value_or(Round(0));
  model_ = memory.model;
  if (!Mutated(Mutation::kForgetRollback)) rollback_ = memory.rollback;
  abandoned_ = memory.abandoned;
  fenced_ = {memory.fenced.begin(), memory.fenced.end()};
  excluded_ = memory.excluded;
  departed_ = {memory.departed.begin(), memory.departed.end()};
  for (Seat& seat : seats_) seat.expected = false;
  for (const CoordinatorMemory::Place& place : memory.places) {
    if (place.rank.value() >= seats_.size()) continue;  // see CheckMemory
    const SeatState held = place.defined ? SeatState::kActive : SeatState::kJoined;
    seats_[place.rank.value()] = {.state = place.left     ? SeatState::kLeft
                                           : place.vacant ? SeatState::kAbsent
                                                          : held,
                                  .incarnation = place.incarnation,
                                  .name = place.name,
                                  .defined = place.defined,
                                  .since = now,
                                  .heard = now,
                                  .replacements = place.replacements,
                                  .expected = place.expected,
                                  .vacant_since = place.vacant ? now : absl::InfinitePast()};
  }
  if (memory.done) Enter(RunState::kDone, now);
}

CoordinatorCore::CoordinatorCore(CoordinatorOptions options, absl::Time now)
    : options_(std::move(options)),
      state_since_(now),
      seats_(options_.ranks()),
      shards_(options_.shards),
      model_(options_.model),
      decider_(options_.policy, options_.shards) {
  for (uint32_t r = 0; r < options_.workers; ++r) seats_[r].expected = true;
}

void CoordinatorCore::Enter(RunState state, absl::Time now) {
  if (state_ == state) return;
  state_ = state;
  state_since_ = now;
}

// ---- Workers ----

Seat* CoordinatorCore::FindHolder(Incarnation incarnation) {
  for (Seat& seat : seats_) {
    if (Holds(seat) && seat.incarnation == incarnation) return &seat;
  }
  return nullptr;
}

absl::Status CoordinatorCore::CheckJoin(const WorkerJoins& event) const {
  if (!event.run_id.empty() && event.run_id != options_.run_id) {
    return absl::AbortedError(absl::StrCat("worker '", event.name, "' belongs to run ", event.run_id,
                                           ", but this is run ", options_.run_id,
                                           ": start the worker again to join it"));
  }
  if (fenced_.contains(event.incarnation)) {
    return absl::PermissionDeniedError(
        absl::StrCat("fenced: this life of worker '", event.name, "' has lost its rank to another process"));
  }
  if (state_ == RunState::kFailed) return absl::Status(failure_code_, absl::StrCat("the run has failed: ", failure_));
  if (event.rank && event.rank->value() >= options_.ranks()) {
    return absl::InvalidArgumentError(absl::StrCat("worker '", event.name, "' asks for rank ", event.rank->value(),
                                                   ", but this run has ranks 0 to ", options_.ranks() - 1, " (",
                                                   options_.max_workers == 0 ? "--workers " : "--max-workers ",
                                                   options_.ranks(), ")"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Rank> CoordinatorCore::ChooseSeat(const WorkerJoins& event) const {
  const auto free = [&](const Seat& seat) {
    return seat.state == SeatState::kAbsent || seat.state == SeatState::kLost ||
           (Holds(seat) && seat.name == event.name);
  };
  if (event.rank) {
    const Seat& seat = seats_[event.rank->value()];
    if (free(seat)) return *event.rank;
    if (seat.state == SeatState::kLeft) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "rank ", event.rank->value(), " was worker '", seat.name, "', which has done its part and left: worker '",
          event.name, "' may ask for another rank, or for none, to be given one if there is room"));
    }
    return absl::ResourceExhaustedError(absl::StrCat("rank ", event.rank->value(), " is held by worker '", seat.name,
                                                     "', which is alive: use its name to replace it, or evict it"));
  }
  const auto find = [&](auto matches) { return std::find_if(seats_.begin(), seats_.end(), matches); };
  auto at = find([&](const Seat& seat) { return Holds(seat) && seat.name == event.name; });
  // The run waits for some of those that nobody holds.
  if (at == seats_.end())
    at = find([&](const Seat& seat) { return seat.state == SeatState::kAbsent && seat.expected; });
  if (at == seats_.end()) at = find([&](const Seat& seat) { return seat.state == SeatState::kLost; });
  if (at == seats_.end()) at = find(free);
  // Whoever has left makes room in a run that may grow.
  if (at == seats_.end() && options_.ranks() > options_.least()) {
    at = find([&](const Seat& seat) { return seat.state == SeatState::kLeft; });
  }
  if (at != seats_.end()) return RankOf(*at);
  const bool anybody_left = find([](const Seat& seat) { return seat.state == SeatState::kLeft; }) != seats_.end();
  return absl::ResourceExhaustedError(absl::StrCat(
      "all ", options_.ranks(), " ranks of run ", options_.run_id, " are held by live workers",
      anybody_left ? ", or by workers that have left" : "", ": there is no place for worker '", event.name, "'"));
}

// The seat that this worker has left cleanly: it was restarted although its work is done.
const Seat* CoordinatorCore::FindLeft(const WorkerJoins& event) const {
  for (const Seat& seat : seats_) {
    if (seat.state == SeatState::kLeft && seat.name == event.name) return &seat;
  }
  return nullptr;
}

void CoordinatorCore::Step(const WorkerJoins& event, absl::Time now, CoordinatorEffects& effects) {
  Transaction transaction(this, effects);
  if (absl::Status status = CheckJoin(event); !status.ok()) {
    effects.push_back(RefuseWorker{event.incarnation, std::move(status)});
    return;
  }
  if (Seat* seat = FindHolder(event.incarnation); seat != nullptr) return Rejoin(*seat, now, effects);
  if (FindLeft(event) != nullptr || departed_.contains(event.incarnation) || state_ == RunState::kDone) {
    effects.push_back(AcknowledgeLeave{event.incarnation});
    return;
  }
  absl::StatusOr<Rank> rank = ChooseSeat(event);
  if (!rank.ok()) {
    effects.push_back(RefuseWorker{event.incarnation, rank.status()});
    return;
  }
  Take(*rank, event, now, effects);
  MaybeChange(now, effects);
}

// The same life of the worker on a new stream.
void CoordinatorCore::Rejoin(Seat& seat, absl::Time now, CoordinatorEffects& effects) {
  seat.heard = now;
  if (seat.state == SeatState::kLost) seat.state = seat.defined ? SeatState::kActive : SeatState::kJoined;
  effects.push_back(WelcomeWorker{seat.incarnation, RankOf(seat)});
  const Member member{RankOf(seat), seat.incarnation};
  const bool in_generation = std::find(change_.members.begin(), change_.members.end(), member) != change_.members.end();
  if (state_ == RunState::kTraining && in_generation) Announce({seat.incarnation}, effects);
}

void CoordinatorCore::Take(Rank rank, const WorkerJoins& event, absl::Time now, CoordinatorEffects& effects) {
  Seat& seat = seats_[rank.value()];
  if (Holds(seat) && !Mutated(Mutation::kKeepOldHolder))
    Fence(seat, absl::StrCat("worker '", event.name, "' has taken its place"), effects);
  if (seat.state == SeatState::kLeft) departed_.insert(seat.incarnation);
  const uint32_t replacements = seat.replacements + (seat.since == absl::InfinitePast() ? 0 : 1);
  seat = {.state = SeatState::kJoined,
          .incarnation = event.incarnation,
          .name = event.name,
          .defined = false,
          .since = now,
          .heard = now,
          .replacements = replacements,
          .expected = seat.expected && seat.state != SeatState::kLeft};
  changed_ = true;
  ForgetModelOfNobody();
  effects.push_back(WelcomeWorker{event.incarnation, rank});
  effects.push_back(
      Note{absl::StrCat("worker '", event.name, "' holds rank ", rank.value(),
                        replacements == 0 ? "" : absl::StrCat(", its replacement number ", replacements))});
}

void CoordinatorCore::Fence(Seat& seat, const std::string& why, CoordinatorEffects& effects) {
  if (!Mutated(Mutation::kForgetFence)) fenced_.insert(seat.incarnation);
  changed_ = true;
  effects.push_back(RefuseWorker{seat.incarnation, absl::PermissionDeniedError(absl::StrCat(
                                                       "fenced: worker '", seat.name, "' no longer holds rank ",
                                                       RankOf(seat).value(), ": ", why))});
}

void CoordinatorCore::Vacate(Seat& seat, absl::Time now) {
  seat.vacant_since = now;
  changed_ = true;
  ask_again_ = true;
  // One that had come on top of what the run expects need not be replaced.
  seat.state = SeatState::kAbsent;
  seat.defined = false;
  seat.name.clear();
  ForgetModelOfNobody();
}

// Before the first generation a model counts only as long as somebody who has defined it is there.
void CoordinatorCore::ForgetModelOfNobody() {
  if (generation_ > Generation(0) || options_.model) return;
  const auto defined = [](const Seat& seat) { return Holds(seat) && seat.defined; };
  if (std::none_of(seats_.begin(), seats_.end(), defined)) model_.reset();
}

void CoordinatorCore::Step(const WorkerDefines& event, absl::Time now, CoordinatorEffects& effects) {
  Transaction transaction(this, effects);
  Seat* seat = FindHolder(event.incarnation);
  if (seat == nullptr) return;
  seat->heard = now;
  if (model_) {
    if (absl::Status status = CheckSameModel(*model_, event.model); !status.ok()) {
      effects.push_back(RefuseWorker{event.incarnation, std::move(status)});
      fenced_.insert(event.incarnation);
      Vacate(*seat, now);
      return;
    }
  } else {
    model_ = event.model;
  }
  changed_ |= !seat->defined;
  seat->defined = true;
  seat->state = SeatState::kActive;
  MaybeChange(now, effects);
}

void CoordinatorCore::Step(const WorkerBeats& event, absl::Time now, CoordinatorEffects& effects) {
  Seat* seat = FindHolder(event.incarnation);
  if (seat == nullptr) {
    if (fenced_.contains(event.incarnation)) {
      effects.push_back(RefuseWorker{event.incarnation,
                                     absl::PermissionDeniedError("fenced: another process holds this worker's rank")});
    }
    return;
  }
  if (seat->state == SeatState::kLost) {
    seat->state = seat->defined ? SeatState::kActive : SeatState::kJoined;
    effects.push_back(Note{absl::StrCat("worker '", seat->name, "', rank ", RankOf(*seat).value(), ", is back after ",
                                        absl::FormatDuration(absl::Trunc(now - seat->heard, absl::Milliseconds(10))))});
  }
  seat->heard = now;
}

void CoordinatorCore::Step(const WorkerLeaves& event, absl::Time now, CoordinatorEffects& effects) {
  Transaction transaction(this, effects);
  effects.push_back(AcknowledgeLeave{event.incarnation});
  Seat* seat = FindHolder(event.incarnation);
  if (seat == nullptr) return;
  effects.push_back(Note{absl::StrCat("worker '", seat->name, "', rank ", RankOf(*seat).value(), ", has left")});
  if (generation_ == Generation(0)) {
    Vacate(*seat, now);
  } else {
    if (!Mutated(Mutation::kForgetLeave)) seat->state = SeatState::kLeft;
    changed_ = true;
  }
  MaybeChange(now, effects);
}

absl::Status CoordinatorCore::Step(const EvictRank& event, absl::Time now, CoordinatorEffects& effects,
                                   std::string& name) {
  Transaction transaction(this, effects);
  if (event.rank.value() >= options_.ranks()) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no rank ", event.rank.value(), ": this run has ranks 0 to ", options_.ranks() - 1));
  }
  Seat& seat = seats_[event.rank.value()];
  if (!Holds(seat)) return absl::NotFoundError(absl::StrCat("nobody holds rank ", event.rank.value()));
  name = seat.name;
  effects.push_back(Note{absl::StrCat("worker '", name, "' is evicted from rank ", event.rank.value())});
  Fence(seat, "it was evicted", effects);
  Vacate(seat, now);
  MaybeChange(now, effects);
  return absl::OkStatus();
}

void CoordinatorCore::Step(const Tick&, absl::Time now, CoordinatorEffects& effects) {
  if (state_ == RunState::kFailed && now >= shards_end_) {
    shards_end_ = absl::InfiniteFuture();  // once
    effects.push_back(EndRun{.failure = failure_, .code = failure_code_});
  }
  for (Seat& seat : seats_) {
    const bool alive = seat.state == SeatState::kJoined || seat.state == SeatState::kActive;
    if (!alive || now - seat.heard <= options_.lease || Mutated(Mutation::kIgnoreLease)) continue;
    seat.state = SeatState::kLost;
    seat.vacant_since = now;
    effects.push_back(
        Note{absl::StrCat("worker '", seat.name, "', rank ", RankOf(seat).value(), ", is lost: no heartbeat for ",
                          absl::FormatDuration(absl::Trunc(now - seat.heard, absl::Milliseconds(10))))});
  }
  GiveUp(now, effects);
  Decide(decider_.Tick(now), effects);
}

// Goes on without ranks that nobody has taken in time, as long as enough are left.
void CoordinatorCore::GiveUp(absl::Time now, CoordinatorEffects& effects) {
  if (options_.replace_timeout == absl::InfiniteDuration() || generation_ == Generation(0) || ended()) return;
  const auto overdue = [&](const Seat& seat) {
    const bool vacant = seat.state == SeatState::kLost || (seat.state == SeatState::kAbsent && seat.expected);
    return vacant && now - seat.vacant_since >= options_.replace_timeout;
  };
  const auto count = [this](SeatState state) {
    return static_cast<uint32_t>(
        std::count_if(seats_.begin(), seats_.end(), [state](const Seat& seat) { return seat.state == state; }));
  };
  // Who has left has not been lost.
  const bool enough =
      count(SeatState::kActive) > 0 && count(SeatState::kActive) + count(SeatState::kLeft) >= options_.least();
  if (!enough || std::none_of(seats_.begin(), seats_.end(), overdue)) return;
  Transaction transaction(this, effects);
  for (Seat& seat : seats_) {
    if (!overdue(seat)) continue;
    effects.push_back(
        Note{absl::StrCat("nobody has taken rank ", RankOf(seat).value(), " within ",
                          absl::FormatDuration(options_.replace_timeout), ": the run goes on without it")});
    if (Holds(seat)) Fence(seat, "it was lost, and the run went on without it", effects);
    Vacate(seat, now);
    seat.expected = false;
  }
  MaybeChange(now, effects);
}

// ---- Rounds ----

// What the shard says is of the generation that is being decided about, and of the shard's life that is in it.
bool CoordinatorCore::Decides(ShardIndex shard, Incarnation incarnation, Generation generation) const {
  return generation == decider_.generation() && generation > Generation(0) && !ended() &&
         change_.shards[shard.value()] == incarnation;
}

void CoordinatorCore::Step(const ContributionWhole& event, absl::Time now, CoordinatorEffects& effects) {
  if (!Decides(event.shard, event.incarnation, event.generation)) return;
  Decide(decider_.Whole(event.shard, event.rank, event.round, now), effects);
}

void CoordinatorCore::Step(const RankWaits& event, absl::Time, CoordinatorEffects& effects) {
  if (!Decides(event.shard, event.incarnation, event.generation)) return;
  const std::optional<RoundDecider::Gift> gift = decider_.Waits(event.rank, event.given);
  if (!gift) return;
  for (size_t s = 0; s < shards_.size(); ++s) {
    effects.push_back(GiveVersion{.shard = ShardIndex(static_cast<uint32_t>(s)),
                                  .to = change_.shards[s],
                                  .generation = generation_,
                                  .rank = gift->rank,
                                  .version = gift->version});
  }
}

void CoordinatorCore::Decide(std::optional<RoundDecider::Decision> decision, CoordinatorEffects& effects) const {
  if (!decision) return;
  for (size_t s = 0; s < shards_.size(); ++s) {
    effects.push_back(DecideRound{.shard = ShardIndex(static_cast<uint32_t>(s)),
                                  .to = change_.shards[s],
                                  .generation = generation_,
                                  .round = decision->round,
                                  .participants = decision->participants});
    if (Mutated(Mutation::kDecidePerShard) && decision->participants.size() > 1) decision->participants.pop_back();
  }
}

// ---- Shards ----

void CoordinatorCore::Step(const ShardArrives& event, absl::Time now, CoordinatorEffects& effects) {
  Transaction transaction(this, effects);
  const auto refuse = [&](absl::Status status) {
    effects.push_back(RefuseShard{event.shard, event.incarnation, std::move(status)});
  };
  if (event.shard.value() >= options_.shards) {
    return refuse(absl::InvalidArgumentError(absl::StrCat("there is no shard ", event.shard.value(),
                                                          ": this run has shards 0 to ", options_.shards - 1,
                                                          " (--shards ", options_.shards, ")")));
  }
  if (!event.run_id.empty() && event.run_id != options_.run_id) {
    return refuse(absl::AbortedError(absl::StrCat("shard ", event.shard.value(), " belongs to run ", event.run_id,
                                                  ", but this is run ", options_.run_id,
                                                  ": start it with an empty --data-dir to join this one")));
  }
  ShardSeat& seat = shards_[event.shard.value()];
  const bool known = seat.present && seat.incarnation == event.incarnation;
  if (seat.present && !known) {
    effects.push_back(RefuseShard{
        event.shard, seat.incarnation,
        absl::PermissionDeniedError(absl::StrCat("fenced: a newer process serves as shard ", event.shard.value()))});
    effects.push_back(Note{absl::StrCat("shard ", event.shard.value(), " has been restarted")});
  }
  seat = {.present = true, .incarnation = event.incarnation, .address = event.address};
  effects.push_back(WelcomeShard{event.shard});
  if (ended()) return SayEnd(now, effects);
  ask_again_ |= known && !Mutated(Mutation::kIgnoreLostAnswers);  // answers may have been lost with its old stream
  MaybeChange(now, effects);
}

void CoordinatorCore::Step(const ShardSealed& event, absl::Time now, CoordinatorEffects& effects) {
  Transaction transaction(this, effects);
  const size_t s = event.shard.value();
  if (state_ != RunState::kSealing || event.generation != generation_ || change_.shards[s] != event.incarnation) return;
  if (!change_.lost.empty()) return;  // it was known already
  change_.sealed[s] = event.has;
  const auto answered = [](const auto& answer) { return answer.has_value(); };
  if (std::all_of(change_.sealed.begin(), change_.sealed.end(), answered)) Resume(now, effects);
}

// Every shard is sealed: decide where to go on.
void CoordinatorCore::Resume(absl::Time now, CoordinatorEffects& effects) {
  std::vector<SealedShard> shards;
  for (const std::optional<SealedShard>& shard : change_.sealed) shards.push_back(*shard);
  ResumePoint point =
      DecideResume(shards, {.begins_with = options_.begins_with, .announced = announced_, .told = resume_});
  if (point.lost.empty()) {
    return Install(point.resume, point.at_beginning ? Restoring::kBeginning : Restoring::kNothing, now, effects);
  }
  if (options_.checkpoints) return FindRestorable(std::move(point.lost), effects);
  End(RunState::kFailed, absl::StrCat(point.lost, "; the run must start again"), now, effects);
}

void CoordinatorCore::Install(Round resume, Restoring restoring, absl::Time now, CoordinatorEffects& effects) {
  resume_ = resume;
  change_.restoring = restoring;
  Enter(RunState::kInstalling, now);
  changed_ |= std::erase_if(excluded_, [this](const Exclusion& of) { return of.round < resume_; }) > 0;
  std::vector<Rank> excluded;
  for (const Exclusion& exclusion : ExclusionsFrom(resume_)) excluded.push_back(exclusion.rank);
  for (size_t s = 0; s < shards_.size(); ++s) {
    const bool alone =
        restoring == Restoring::kRollback && !change_.sealed[s]->blank && Mutated(Mutation::kRestoreBlankAlone);
    effects.push_back(SendInstall{.shard = ShardIndex(static_cast<uint32_t>(s)),
                                  .to = change_.shards[s],
                                  .generation = generation_,
                                  .resume = resume_,
                                  .members = change_.members,
                                  .excluded = excluded,
                                  .decided = options_.policy.decides(),
                                  .restoring = alone ? Restoring::kNothing : restoring});
  }
}

// ---- Rolling back ----

// Every shard has gone back, and workers are told now: what came after is given up for good. That may be less than was
// meant: if this generation has overtaken the roll back before anybody began with it, and all came back with more.
void CoordinatorCore::NoteRolledBack() {
  if (!rollback_ || std::exchange(rollback_->done, true)) return;
  rollback_->to = resume_.previous();
  std::erase_if(abandoned_, [this](const Abandoned& history) { return history.after >= rollback_->to; });
  abandoned_.push_back({.before = rollback_->generation, .after = rollback_->to});
}

void CoordinatorCore::FindRestorable(std::string lost, CoordinatorEffects& effects) {
  effects.push_back(Note{.text = absl::StrCat(lost, "; looking for the newest checkpoint that every shard can restore"),
                         .loud = true});
  change_.lost = std::move(lost);
  change_.restorable.assign(shards_.size(), std::nullopt);
  for (size_t s = 0; s < shards_.size(); ++s) {
    effects.push_back(SendFindRestorable{ShardIndex(static_cast<uint32_t>(s)), change_.shards[s], generation_});
  }
}

void CoordinatorCore::Step(const ShardRestorable& event, absl::Time now, CoordinatorEffects& effects) {
  Transaction transaction(this, effects);
  const size_t s = event.shard.value();
  const bool awaited = state_ == RunState::kSealing && !change_.lost.empty() && event.generation == generation_ &&
                       change_.shards[s] == event.incarnation;
  if (!awaited) return;
  change_.restorable[s] = event;
  const auto answered = [](const auto& answer) { return answer.has_value(); };
  if (std::all_of(change_.restorable.begin(), change_.restorable.end(), answered)) RollBack(now, effects);
}

void CoordinatorCore::RollBack(absl::Time now, CoordinatorEffects& effects) {
  std::vector<std::vector<RestorableVersion>> lists;
  std::string reason = std::exchange(change_.lost, "");
  for (size_t s = 0; s < change_.restorable.size(); ++s) {
    lists.push_back(change_.restorable[s]->versions);
    for (const std::string& damage : change_.restorable[s]->damaged) {
      const std::string found = absl::StrCat("; shard ", s, " found a damaged checkpoint: ", damage);
      if (!absl::StrContains(reason, found)) reason += found;
    }
  }
  const std::optional<RestorableVersion> target = DecideRollback(lists, abandoned_);
  if (!target) {
    reason += "; there is no checkpoint that every shard can restore, and the run must start again";
    return End(RunState::kFailed, std::move(reason), now, effects);
  }
  Round newest = resume_;
  for (const auto& answer : change_.sealed) newest = std::max(newest, answer->next);
  if (rollback_ && !rollback_->done) newest = std::max(newest, rollback_->from.next());
  rollback_ = Rollback{.generation = generation_,
                       .from = std::max(newest, target->version.next()).previous(),
                       .to = target->version,
                       .reason = std::move(reason),
                       .times = rollback_ ? rollback_->times + 1 : 1,
                       .done = false};
  changed_ = true;
  announced_ = target->version.next();  // nothing later counts any more
  excluded_.clear();                    // nor who was left out of it
  effects.push_back(
      Note{.text = absl::StrCat("ROLLED BACK from version ", rollback_->from.value(), " to the checkpoint of version ",
                                rollback_->to.value(), ": ", rollback_->reason),
           .loud = true});
  Install(target->version.next(), Restoring::kRollback, now, effects);
}

void CoordinatorCore::Step(const ShardInstalled& event, absl::Time now, CoordinatorEffects& effects) {
  Transaction transaction(this, effects);
  const size_t s = event.shard.value();
  if (state_ != RunState::kInstalling || event.generation != generation_ || change_.shards[s] != event.incarnation)
    return;
  if (!event.error.empty()) {
    // What the run was told to begin with is wrong for it, or damaged: it would be the same again.
    const bool hopeless =
        change_.restoring == Restoring::kBeginning &&
        (event.code == absl::StatusCode::kInvalidArgument || event.code == absl::StatusCode::kDataLoss);
    const char* advice =
        hopeless ? "begin a new run, in empty folders, with another --restore" : "the run must start again";
    return End(RunState::kFailed, absl::StrCat("shard ", s, ": ", event.error, "; ", advice), now, effects,
               hopeless ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kAborted);
  }
  change_.installed[s] = true;
  const auto missing = std::find(change_.installed.begin(), change_.installed.end(), false);
  if (missing != change_.installed.end() && !Mutated(Mutation::kAnnounceEarly)) return;
  Enter(RunState::kTraining, now);
  NoteRolledBack();
  announced_ = resume_;
  changed_ = true;
  if (options_.policy.decides()) decider_.Begin(generation_, resume_, change_.members);
  std::vector<Incarnation> to;
  for (const Member& member : change_.members) to.push_back(member.incarnation);
  Announce(std::move(to), effects);
  effects.push_back(Note{absl::StrCat("generation ", generation_.value(), ": ", change_.members.size(), " workers, ",
                                      shards_.size(), " shards, next is round ", resume_.value())});
}

// ---- NaN and Inf ----

void CoordinatorCore::Step(const ShardRefuses& event, absl::Time now, CoordinatorEffects& effects) {
  Transaction transaction(this, effects);
  const size_t s = event.shard.value();
  // Of an older generation: that round is collected again, and what is wrong with it will be found again.
  const bool current = state_ == RunState::kTraining && event.generation == generation_ &&
                       change_.shards[s] == event.incarnation && !event.found.empty();
  if (!current) return;
  for (const FoundNotFinite& found : event.found) {
    const std::string name = found.rank.value() < seats_.size() ? seats_[found.rank.value()].name : "";
    const std::string what = absl::StrCat(Describe(found, name), " (shard ", s, ")");
    if (options_.nan_policy != NanPolicy::kDrop || !CanDrop(found)) {
      return End(RunState::kFailed, what, now, effects, absl::StatusCode::kInvalidArgument);
    }
    const auto at = std::find_if(excluded_.begin(), excluded_.end(), [&](const Exclusion& of) {
      return of.round > found.round || (of.round == found.round && of.rank >= found.rank);
    });
    if (at != excluded_.end() && at->round == found.round && at->rank == found.rank) continue;
    excluded_.insert(at, {.round = found.round, .rank = found.rank, .why = what});
    effects.push_back(Note{absl::StrCat("dropped from round ", found.round.value(), " on all shards: ", what)});
  }
  changed_ = true;
  ask_again_ = true;
  MaybeChange(now, effects);
}

std::vector<Exclusion> CoordinatorCore::ExclusionsFrom(Round round) const {
  std::vector<Exclusion> from;
  std::copy_if(excluded_.begin(), excluded_.end(), std::back_inserter(from),
               [&](const Exclusion& exclusion) { return exclusion.round == round; });
  return from;
}

std::vector<ShardIndex> CoordinatorCore::UnansweredShards() const {
  std::vector<ShardIndex> unanswered;
  for (size_t s = 0; s < change_.shards.size(); ++s) {
    const bool finding = state_ == RunState::kSealing && !change_.lost.empty() && !change_.restorable[s];
    const bool waits = finding || (state_ == RunState::kSealing && !change_.sealed[s]) ||
                       (state_ == RunState::kInstalling && !change_.installed[s]);
    if (waits) unanswered.push_back(ShardIndex(static_cast<uint32_t>(s)));
  }
  return unanswered;
}

// ---- Generations ----

bool CoordinatorCore::Occupied() const {
  return std::all_of(seats_.begin(), seats_.end(), [](const Seat& seat) {
    return seat.state == SeatState::kLeft || !seat.expected || (Holds(seat) && seat.defined);
  });
}

bool CoordinatorCore::AllLeft() const {
  const auto left = [](const Seat& seat) { return seat.state == SeatState::kLeft; };
  // Whoever has only come, and has not defined the model yet, comes too late.
  const auto over = [&](const Seat& seat) { return left(seat) || !(seat.expected || (Holds(seat) && seat.defined)); };
  return std::any_of(seats_.begin(), seats_.end(), left) && std::all_of(seats_.begin(), seats_.end(), over);
}

std::vector<Member> CoordinatorCore::Members() const {
  std::vector<Member> members;
  for (const Seat& seat : seats_) {
    if (Holds(seat) && seat.defined) members.push_back({RankOf(seat), seat.incarnation});
  }
  return members;
}

std::vector<Rank> CoordinatorCore::MemberRanks() const {
  std::vector<Rank> ranks;
  for (const Member& member : change_.members) ranks.push_back(member.rank);
  return ranks;
}

std::vector<Incarnation> CoordinatorCore::ShardIncarnations() const {
  std::vector<Incarnation> incarnations;
  for (const ShardSeat& shard : shards_) incarnations.push_back(shard.incarnation);
  return incarnations;
}

// Starts a generation change when the run needs one that is not under way yet.
void CoordinatorCore::MaybeChange(absl::Time now, CoordinatorEffects& effects) {
  if (ended()) return;
  if (AllLeft()) {
    End(RunState::kDone, "", now, effects);
    for (Seat& seat : seats_) {
      if (!Holds(seat)) continue;
      effects.push_back(RefuseWorker{seat.incarnation, absl::AbortedError("the run is done: every worker has left")});
      Vacate(seat, now);
    }
    return;
  }
  const bool shards_present =
      std::all_of(shards_.begin(), shards_.end(), [](const ShardSeat& shard) { return shard.present; });
  if (!shards_present) return;
  if (!Occupied()) {
    const bool changing = (state_ == RunState::kSealing || state_ == RunState::kInstalling) && !ask_again_;
    if (!changing) Enter(RunState::kWaitingForWorkers, now);
    return;
  }
  std::vector<Member> members = Members();
  std::vector<Incarnation> shards = ShardIncarnations();
  const bool same_members =
      members == change_.members || (Mutated(Mutation::kKeepReplaced) && members.size() == change_.members.size());
  const bool same_shards =
      shards == change_.shards || (Mutated(Mutation::kIgnoreRestart) && generation_ > Generation(0));
  if (!ask_again_ && same_members && same_shards) return;
  ask_again_ = false;
  for (const Member& member : members) seats_[member.rank.value()].expected = true;
  if (!Mutated(Mutation::kReuseGeneration) || generation_ == Generation(0)) generation_ = generation_.next();
  changed_ = true;
  change_ = {.members = std::move(members), .shards = std::move(shards), .sealed = {}, .installed = {}};
  change_.sealed.resize(shards_.size());
  change_.installed.resize(shards_.size(), false);
  decider_.End();
  Enter(RunState::kSealing, now);
  for (size_t s = 0; s < shards_.size(); ++s) {
    effects.push_back(SendSeal{ShardIndex(static_cast<uint32_t>(s)), change_.shards[s], generation_});
  }
}

void CoordinatorCore::Announce(std::vector<Incarnation> to, CoordinatorEffects& effects) const {
  effects.push_back(AnnounceGeneration{.generation = generation_,
                                       .resume = resume_,
                                       .members = change_.members,
                                       .to = std::move(to),
                                       .excluded = ExclusionsFrom(resume_),
                                       .rolled_back_in = rollback_ ? rollback_->generation : Generation(0)});
}

void CoordinatorCore::End(RunState state, std::string failure, absl::Time now, CoordinatorEffects& effects,
                          absl::StatusCode code) {
  failure_ = std::move(failure);
  failure_code_ = code;
  changed_ |= state == RunState::kDone && state_ != state;
  Enter(state, now);
  const bool again = code != absl::StatusCode::kAborted;  // starting again would only repeat it
  shards_end_ = again && options_.linger > absl::ZeroDuration() ? now + options_.linger : absl::InfiniteFuture();
  SayEnd(now, effects);
}

void CoordinatorCore::SayEnd(absl::Time now, CoordinatorEffects& effects) const {
  const bool stay = state_ == RunState::kFailed && shards_end_ != absl::InfiniteFuture() && now < shards_end_;
  effects.push_back(EndRun{.failure = failure_, .code = failure_code_, .shards_stay = stay});
}

}  // namespace lockstep::core
