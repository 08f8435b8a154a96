#include "server/core/coordinator.h"

#include <algorithm>
#include <iterator>
#include <utility>

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
                           .model = model_,
                           .done = state_ == RunState::kDone,
                           .excluded = excluded_};
  std::sort(memory.fenced.begin(), memory.fenced.end());
  for (const Seat& seat : seats_) {
    if (seat.state == SeatState::kAbsent) continue;
    memory.places.push_back({.rank = RankOf(seat),
                             .incarnation = seat.incarnation,
                             .name = seat.name,
                             .defined = seat.defined,
                             .left = seat.state == SeatState::kLeft,
                             .replacements = seat.replacements});
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
  fenced_ = {memory.fenced.begin(), memory.fenced.end()};
  excluded_ = memory.excluded;
  for (const CoordinatorMemory::Place& place : memory.places) {
    const SeatState held = place.defined ? SeatState::kActive : SeatState::kJoined;
    seats_[place.rank.value()] = {.state = place.left ? SeatState::kLeft : held,
                                  .incarnation = place.incarnation,
                                  .name = place.name,
                                  .defined = place.defined,
                                  .since = now,
                                  .heard = now,
                                  .replacements = place.replacements};
  }
  if (memory.done) Enter(RunState::kDone, now);
}

CoordinatorCore::CoordinatorCore(CoordinatorOptions options, absl::Time now)
    : options_(std::move(options)), state_since_(now), seats_(options_.workers), shards_(options_.shards) {}

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
  if (event.rank && event.rank->value() >= options_.workers) {
    return absl::InvalidArgumentError(absl::StrCat("worker '", event.name, "' asks for rank ", event.rank->value(),
                                                   ", but this run has ranks 0 to ", options_.workers - 1,
                                                   " (--workers ", options_.workers, ")"));
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
    return absl::ResourceExhaustedError(absl::StrCat("rank ", event.rank->value(), " is held by worker '", seat.name,
                                                     "', which is alive: use its name to replace it, or evict it"));
  }
  const auto find = [&](auto matches) { return std::find_if(seats_.begin(), seats_.end(), matches); };
  auto at = find([&](const Seat& seat) { return Holds(seat) && seat.name == event.name; });
  if (at == seats_.end()) at = find([&](const Seat& seat) { return seat.state == SeatState::kAbsent; });
  if (at == seats_.end()) at = find(free);
  if (at != seats_.end()) return RankOf(*at);
  return absl::ResourceExhaustedError(absl::StrCat("all ", options_.workers, " ranks of run ", options_.run_id,
                                                   " are held by live workers: there is no place for worker '",
                                                   event.name, "'"));
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
  if (FindLeft(event) != nullptr || state_ == RunState::kDone) {
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
  const uint32_t replacements = seat.replacements + (seat.since == absl::InfinitePast() ? 0 : 1);
  seat = {.state = SeatState::kJoined,
          .incarnation = event.incarnation,
          .name = event.name,
          .defined = false,
          .since = now,
          .heard = now,
          .replacements = replacements};
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

void CoordinatorCore::Vacate(Seat& seat) {
  changed_ = true;
  ask_again_ = true;
  seat.state = SeatState::kAbsent;
  seat.defined = false;
  seat.name.clear();
  ForgetModelOfNobody();
}

// Before the first generation a model counts only as long as somebody who has defined it is there.
void CoordinatorCore::ForgetModelOfNobody() {
  if (generation_ > Generation(0)) return;
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
      Vacate(*seat);
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
    Vacate(*seat);
  } else {
    if (!Mutated(Mutation::kForgetLeave)) seat->state = SeatState::kLeft;
    changed_ = true;
  }
  MaybeChange(now, effects);
}

absl::Status CoordinatorCore::Step(const EvictRank& event, absl::Time now, CoordinatorEffects& effects,
                                   std::string& name) {
  Transaction transaction(this, effects);
  if (event.rank.value() >= options_.workers) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no rank ", event.rank.value(), ": this run has ranks 0 to ", options_.workers - 1));
  }
  Seat& seat = seats_[event.rank.value()];
  if (!Holds(seat)) return absl::NotFoundError(absl::StrCat("nobody holds rank ", event.rank.value()));
  name = seat.name;
  effects.push_back(Note{absl::StrCat("worker '", name, "' is evicted from rank ", event.rank.value())});
  Fence(seat, "it was evicted", effects);
  Vacate(seat);
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
    effects.push_back(
        Note{absl::StrCat("worker '", seat.name, "', rank ", RankOf(seat).value(), ", is lost: no heartbeat for ",
                          absl::FormatDuration(absl::Trunc(now - seat.heard, absl::Milliseconds(10))))});
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
  change_.sealed[s] = SealAnswer{event.next, event.completed_in, event.blank};
  const auto answered = [](const auto& answer) { return answer.has_value(); };
  if (std::all_of(change_.sealed.begin(), change_.sealed.end(), answered)) Resume(now, effects);
}

// Why the answers to Seal prove that a shard came back without what it had; empty if they do not. `resume`: what they
// allow.
std::string CoordinatorCore::LostMemory(Round resume, Round newest) const {
  for (size_t s = 0; s < change_.sealed.size(); ++s) {
    const Round next = change_.sealed[s]->next;
    const bool empty = announced_ && change_.sealed[s]->blank;  // workers may have held a version of it
    const bool behind = next.value() + 1 < newest.value();      // nobody starts round c + 2 before c + 1 is complete
    const bool undone = next == resume && resume < resume_;     // it had been told to resume later than that
    if (!empty && !behind && !undone) continue;
    return absl::StrCat("shard ", s, " has lost its memory: it is ready for round ", next.value(),
                        ", but the run had come to round ", std::max(newest, resume_).value(),
                        "; the run must start again");
  }
  return "";
}

// Every shard is sealed: decide where to go on.
void CoordinatorCore::Resume(absl::Time now, CoordinatorEffects& effects) {
  const auto [low, high] = std::minmax_element(change_.sealed.begin(), change_.sealed.end(),
                                               [](const auto& a, const auto& b) { return a->next < b->next; });
  Round resume = (*low)->next;
  const Round newest = (*high)->next;
  const auto same = [&](const auto& answer) { return answer->completed_in == (*low)->completed_in; };
  if (newest == resume && !std::all_of(change_.sealed.begin(), change_.sealed.end(), same)) resume = resume.previous();
  if (Mutated(Mutation::kResumeAtNewest)) resume = newest;
  if (std::string failure = LostMemory(resume, newest); !failure.empty()) {
    return End(RunState::kFailed, std::move(failure), now, effects);
  }
  resume_ = resume;
  Enter(RunState::kInstalling, now);
  changed_ |= std::erase_if(excluded_, [this](const Exclusion& of) { return of.round < resume_; }) > 0;
  std::vector<Rank> excluded;
  for (const Exclusion& exclusion : ExclusionsFrom(resume_)) excluded.push_back(exclusion.rank);
  for (size_t s = 0; s < shards_.size(); ++s) {
    effects.push_back(SendInstall{.shard = ShardIndex(static_cast<uint32_t>(s)),
                                  .to = change_.shards[s],
                                  .generation = generation_,
                                  .resume = resume_,
                                  .members = change_.members,
                                  .excluded = excluded});
  }
}

void CoordinatorCore::Step(const ShardInstalled& event, absl::Time now, CoordinatorEffects& effects) {
  Transaction transaction(this, effects);
  const size_t s = event.shard.value();
  if (state_ != RunState::kInstalling || event.generation != generation_ || change_.shards[s] != event.incarnation)
    return;
  if (!event.error.empty()) {
    return End(RunState::kFailed, absl::StrCat("shard ", s, ": ", event.error, "; the run must start again"), now,
               effects);
  }
  change_.installed[s] = true;
  const auto missing = std::find(change_.installed.begin(), change_.installed.end(), false);
  if (missing != change_.installed.end() && !Mutated(Mutation::kAnnounceEarly)) return;
  Enter(RunState::kTraining, now);
  announced_ = resume_;
  changed_ = true;
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
    const bool waits = (state_ == RunState::kSealing && !change_.sealed[s]) ||
                       (state_ == RunState::kInstalling && !change_.installed[s]);
    if (waits) unanswered.push_back(ShardIndex(static_cast<uint32_t>(s)));
  }
  return unanswered;
}

// ---- Generations ----

bool CoordinatorCore::Occupied() const {
  return std::all_of(seats_.begin(), seats_.end(),
                     [](const Seat& seat) { return seat.state == SeatState::kLeft || (Holds(seat) && seat.defined); });
}

bool CoordinatorCore::AllLeft() const {
  return std::all_of(seats_.begin(), seats_.end(), [](const Seat& seat) { return seat.state == SeatState::kLeft; });
}

std::vector<Member> CoordinatorCore::Members() const {
  std::vector<Member> members;
  for (const Seat& seat : seats_) {
    if (Holds(seat)) members.push_back({RankOf(seat), seat.incarnation});
  }
  return members;
}

std::vector<Incarnation> CoordinatorCore::ShardIncarnations() const {
  std::vector<Incarnation> incarnations;
  for (const ShardSeat& shard : shards_) incarnations.push_back(shard.incarnation);
  return incarnations;
}

// Starts a generation change when the run needs one that is not under way yet.
void CoordinatorCore::MaybeChange(absl::Time now, CoordinatorEffects& effects) {
  if (ended()) return;
  if (AllLeft()) return End(RunState::kDone, "", now, effects);
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
  if (!Mutated(Mutation::kReuseGeneration) || generation_ == Generation(0)) generation_ = generation_.next();
  changed_ = true;
  change_ = {.members = std::move(members), .shards = std::move(shards), .sealed = {}, .installed = {}};
  change_.sealed.resize(shards_.size());
  change_.installed.resize(shards_.size(), false);
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
                                       .excluded = ExclusionsFrom(resume_)});
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
