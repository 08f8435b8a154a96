#include "tests/sim/coordinator_process.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/shard_process.h"
#include "tests/sim/worker_process.h"

namespace lockstep::sim {

CoordinatorProcess::CoordinatorProcess(World& world, Directory& directory, uint64_t life)
    : Process(world, kCoordinatorPlace),
      directory_(directory),
      life_(life),
      disk_(*directory.coordinator_disk),
      core_(Recover()),
      sealed_(world.plan().shards()),
      shards_(world.plan().shards(), nullptr),
      checkpoints_(world.plan().shards()),
      manifests_(world, *this, [&directory] { directory.crash_coordinator(); }) {
  checkpoints_.SetTriggers({.rounds = world.plan().checkpoints.rounds, .interval = world.plan().checkpoints.interval});
}

core::CoordinatorCore CoordinatorProcess::Recover() {
  const core::CoordinatorOptions options{.run_id = kRunId,
                                         .workers = world().plan().workers,
                                         .shards = world().plan().shards(),
                                         .lease = world().plan().lease,
                                         .policy = world().plan().policy,
                                         .min_workers = world().plan().min_workers,
                                         .max_workers = world().plan().max_workers,
                                         .replace_timeout = world().plan().replace_timeout,
                                         .checkpoints = world().plan().checkpoints.rounds > 0};
  if (disk_.records().empty()) return {options, Now()};
  core::CoordinatorMemory memory = disk_.records().back();
  if (disk_.safe() > 0) durable_ = disk_.records()[disk_.safe() - 1];
  if (world().has(PlantedBug::kReusesGeneration) && memory.generation > Generation(0)) {
    memory.generation = memory.generation.previous();
  }
  if (world().has(PlantedBug::kForgetsFenced)) memory.fenced.clear();
  if (world().has(PlantedBug::kForgetsSeats)) memory.places.clear();
  const absl::Status status = core::CoordinatorCore::CheckMemory(options, memory);
  world().Expect(status.ok(), absl::StrCat("a coordinator cannot come back (G5): ", status.message()));
  return {options, memory, Now()};
}

void CoordinatorProcess::Start() {
  if (life_ > 1) {
    world().Trace("coordinator comes back, newest generation is $0", core_.generation());
    world().Count(Occurrence::kCoordinatorBack);
    if (disk_.records().empty()) world().Count(Occurrence::kCoordinatorBackBlank);
    if (core_.state() == core::RunState::kDone) world().Count(Occurrence::kCoordinatorBackDone);
    if (!core_.memory().fenced.empty()) world().Count(Occurrence::kFencedAfterRestart);
  }
  if (!disk_.records().empty() && !world().has(PlantedBug::kTrustsUnsynced)) {
    persisting_ = true;
    disk_.Sync(*this, [this] { Persisted(); });
  }
  if (!world().has(PlantedBug::kNeverTicks)) TickLater();
}

void CoordinatorProcess::TickLater() {
  After(world().plan().lease / 5, [this] {
    Step(core::Tick{});
    if (core_.state() == core::RunState::kTraining && core_.options().checkpoints) {
      core::CheckpointEffects effects;
      checkpoints_.Tick(Now(), effects);
      Run(effects);
    }
    TickLater();
  });
}

// What the driver takes for the time: its machine's steady clock, but for planted bugs.
absl::Time CoordinatorProcess::Now() {
  if (world().has(PlantedBug::kWallClock)) return world().wall(kCoordinatorPlace);
  if (!world().has(PlantedBug::kKeepsOldTime)) return clock();
  directory_.coordinator_time = std::max(directory_.coordinator_time, clock());
  return directory_.coordinator_time;
}

// ---- Events ----

void CoordinatorProcess::Step(const Event& event) {
  const core::RunState state = core_.state();
  const Generation generation = core_.generation();
  const std::vector<core::Seat> seats = core_.seats();
  const std::optional<core::Rollback> rollback = core_.rollback();
  core::CoordinatorEffects effects;
  std::visit([&](const auto& e) { core_.Step(e, Now(), effects); }, event);
  CheckStep(state, generation);
  for (size_t r = 0; r < seats.size(); ++r) {
    CountSeatChange(seats[r], core_.seats()[r]);
    CheckLease(seats[r], core_.seats()[r]);
  }
  if (core_.rollback() && (!rollback || rollback->generation != core_.rollback()->generation)) {
    NoteRollback(*core_.rollback());
  }
  Run(effects);
  WakeLater();
}

// Deadlines of rounds do not wait for the next tick.
void CoordinatorProcess::WakeLater() {
  const absl::Time when = core_.wakes_at();
  if (when == absl::InfiniteFuture() || when == wakes_at_) return;
  wakes_at_ = when;
  After(std::max(when - Now(), absl::ZeroDuration()), [this] { Step(core::Tick{}); });
}

void CoordinatorProcess::OnBeat(const core::WorkerBeats& event, absl::Time sent_at) {
  heard_[event.incarnation] = world().now();
  if (!world().has(PlantedBug::kForeignClock)) return Step(event);
  core::CoordinatorEffects effects;
  core_.Step(event, sent_at, effects);
  Run(effects);
}

// A worker is lost only if nothing was heard of it for a lease, whatever any clock shows.
void CoordinatorProcess::CheckLease(const core::Seat& before, const core::Seat& after) {
  if (before.incarnation != after.incarnation || before.state == core::SeatState::kLost) return;
  if (after.state != core::SeatState::kLost) return;
  const auto heard = heard_.find(after.incarnation);
  const absl::Duration slack = world().plan().lease * SteadyClock::kMostPpm / 1'000'000 + absl::Microseconds(1);
  world().Expect(heard == heard_.end() || world().now() - heard->second >= world().plan().lease - slack,
                 absl::StrCat("worker '", after.name, "' is taken for lost, but it was heard within its lease (G6)"));
}

void CoordinatorProcess::OnShardSays(const core::RankWaits& event) {
  const auto given = directory_.given.find({event.generation, event.rank});
  if (given != directory_.given.end() && given->second > event.given) world().Count(Occurrence::kGivenAgain);
  Step(event);
}

void CoordinatorProcess::CountSeatChange(const core::Seat& before, const core::Seat& after) {
  const bool same = before.incarnation == after.incarnation;
  const bool was_lost = before.state == core::SeatState::kLost;
  if (after.state == core::SeatState::kLost && !was_lost) world().Count(Occurrence::kLeaseExpired);
  if (before.expected && !after.expected) world().Count(Occurrence::kGivenUp);
  if (!before.expected && after.expected) world().Count(Occurrence::kGrown);
  if (before.state == core::SeatState::kLeft && after.state != before.state) world().Count(Occurrence::kLeftSeatTaken);
  if (same && was_lost && after.state == core::SeatState::kActive) world().Count(Occurrence::kBackAfterLost);
  if (same || before.incarnation == Incarnation()) return;
  world().Count(after.name == before.name ? Occurrence::kReplacedByName : Occurrence::kReplacedByOther);
}

void CoordinatorProcess::CheckStep(core::RunState before, Generation generation) {
  world().Expect(core_.generation() >= generation, "a generation number goes back (G3)");
  if (core_.generation() == generation) return;
  sealed_.assign(sealed_.size(), std::nullopt);
  world().Trace("coordinator starts generation $0", core_.generation());
  if (before == core::RunState::kSealing) world().Count(Occurrence::kOvertakenSealing);
  if (before == core::RunState::kInstalling) world().Count(Occurrence::kOvertakenInstalling);
}

// Takes the stream for the process's newest one, unless it is an old one whose greeting comes late.
bool CoordinatorProcess::IsNewest(Link& link, Link*& newest) {
  if (newest != nullptr && newest->number() > link.number()) {
    world().Count(Occurrence::kLateJoin);
    return false;
  }
  newest = &link;
  return true;
}

void CoordinatorProcess::OnJoin(Link& link, const core::WorkerJoins& event) {
  world().Trace("coordinator hears worker $0 join", event.incarnation);
  if (!IsNewest(link, workers_[event.incarnation])) return;
  heard_[event.incarnation] = world().now();
  Step(event);
}

void CoordinatorProcess::OnShard(Link& link, const core::ShardArrives& event) {
  world().Trace("coordinator hears shard $0, incarnation $1, arrive", event.shard, event.incarnation);
  if (IsNewest(link, shards_[event.shard.value()])) Step(event);
}

void CoordinatorProcess::Evict(Rank rank) {
  core::CoordinatorEffects effects;
  std::string name;
  if (!core_.Step(core::EvictRank{rank}, Now(), effects, name).ok()) return;
  world().Trace("operator evicts rank $0", rank);
  world().Count(Occurrence::kEviction);
  Run(effects);
}

// What the answers to Seal allow, from outside: the smallest, or the one before if shards have completed the version in
// different generations.
void CoordinatorProcess::OnSealed(const core::ShardSealed& event) {
  if (event.generation == core_.generation()) sealed_[event.shard.value()] = event;
  const core::RunState before = core_.state();
  Step(event);
  if (before != core::RunState::kSealing || core_.state() != core::RunState::kInstalling) return;
  bool rolls_back = true;
  for (const auto& answer : sealed_) rolls_back = rolls_back && answer && answer->has.next > core_.resume();
  if (rolls_back) world().Count(Occurrence::kCompletedInDifferentGenerations);
}

void CoordinatorProcess::Crash() {
  if (core_.rollback() && !core_.rollback()->done) world().Count(Occurrence::kCoordinatorCrashGoingBack);
  manifests_.Crash();
  world().Count(Occurrence::kCoordinatorCrash);
  if (persisting_) world().Count(Occurrence::kCoordinatorCrashWhilePersisting);
  if (!waiting_.empty()) world().Count(Occurrence::kCoordinatorCrashWithEffects);
  if (core_.state() == core::RunState::kSealing) world().Count(Occurrence::kCoordinatorCrashSealing);
  if (core_.state() == core::RunState::kInstalling) world().Count(Occurrence::kCoordinatorCrashInstalling);
}

// ---- Effects ----

void CoordinatorProcess::Run(const core::CoordinatorEffects& effects) {
  for (const core::CoordinatorEffect& effect : effects) {
    if (std::holds_alternative<core::Persist>(effect)) {
      waiting_.emplace_back(core_.memory());
    } else {
      waiting_.emplace_back(effect);
    }
  }
  Flush();
}

void CoordinatorProcess::Flush() {
  while (!waiting_.empty() && !persisting_) {
    auto next = std::move(waiting_.front());
    waiting_.pop_front();
    if (auto* effect = std::get_if<core::CoordinatorEffect>(&next)) {
      std::visit([this](const auto& e) { Do(e); }, *effect);
      continue;
    }
    persisting_ = !world().has(PlantedBug::kActsBeforePersisting);
    disk_.Append(*this, std::get<core::CoordinatorMemory>(std::move(next)), [this] { Persisted(); });
  }
}

void CoordinatorProcess::Persisted() {
  durable_ = disk_.records()[disk_.safe() - 1];
  persisting_ = false;
  Flush();
}

void CoordinatorProcess::CheckDurable(bool holds, const char* what) {
  world().Expect(holds, absl::StrCat("the coordinator acts before its disk has ", what, " (G5)"));
}

Link* CoordinatorProcess::WorkerLink(Incarnation incarnation) const {
  const auto at = workers_.find(incarnation);
  return at == workers_.end() ? nullptr : at->second;
}

WorkerProcess* CoordinatorProcess::Find(Incarnation incarnation) const {
  for (const auto& worker : directory_.workers) {
    if (worker->incarnation() == incarnation) return worker.get();
  }
  return nullptr;
}

void CoordinatorProcess::Do(const core::Persist&) {}  // see Run

void CoordinatorProcess::Do(const core::WelcomeWorker& effect) {
  world().Trace("coordinator welcomes worker $0 as rank $1", effect.incarnation, effect.rank);
  world().Expect(!directory_.fenced.contains(effect.incarnation), "a fenced worker is welcomed (G3)");
  const auto& places = durable_.places;
  const auto seated = [&](const core::CoordinatorMemory::Place& place) {
    return place.rank == effect.rank && place.incarnation == effect.incarnation;
  };
  CheckDurable(std::any_of(places.begin(), places.end(), seated), "a worker's rank");
  WorkerProcess* worker = Find(effect.incarnation);
  if (life_ > 1) {
    world().Count(worker->session() ? Occurrence::kWorkerOutlivesCoordinator : Occurrence::kSeatedAfterRestart);
  }
  Link* link = WorkerLink(effect.incarnation);
  link->Send(End::kClient, [worker, effect] { worker->OnWelcome(effect.rank); });
}

void CoordinatorProcess::CountRefusal(const core::RefuseWorker& effect) {
  const absl::string_view why = effect.status.message();
  if (absl::StrContains(why, "the model does not match")) world().Count(Occurrence::kWrongModelRefused);
  if (absl::StrContains(why, "belongs to run")) world().Count(Occurrence::kStrangerRefused);
  if (absl::IsResourceExhausted(effect.status)) world().Count(Occurrence::kNoPlaceRefused);
}

void CoordinatorProcess::Do(const core::RefuseWorker& effect) {
  world().Trace("coordinator refuses worker $0 with code $1", effect.incarnation, effect.status.code());
  world().Remark(effect.status.message());
  CountRefusal(effect);
  if (absl::StrContains(effect.status.message(), "fenced")) {
    directory_.fenced.insert(effect.incarnation);
    CheckDurable(std::find(durable_.fenced.begin(), durable_.fenced.end(), effect.incarnation) != durable_.fenced.end(),
                 "a worker's fence");
  }
  Link* link = WorkerLink(effect.incarnation);
  if (link == nullptr) return;
  link->Send(End::kClient, [worker = Find(effect.incarnation), effect] { worker->OnRefused(effect.status); });
  link->Close();
}

void CoordinatorProcess::Do(const core::AcknowledgeLeave& effect) {
  world().Trace("coordinator acknowledges that worker $0 leaves", effect.incarnation);
  if (!left_.insert(effect.incarnation).second) world().Count(Occurrence::kLeaveRepeated);
  const auto holds = [&](const core::CoordinatorMemory::Place& place) {
    return place.incarnation == effect.incarnation && !place.left && !place.vacant;
  };
  CheckDurable(std::none_of(durable_.places.begin(), durable_.places.end(), holds), "that a worker has left");
  Link* link = WorkerLink(effect.incarnation);
  link->Send(End::kClient, [worker = Find(effect.incarnation)] { worker->OnLeft(); });
  if (world().random().Chance(world().plan().faults.break_worker_at_leave)) link->Break();
}

void CoordinatorProcess::Do(const core::AnnounceGeneration& effect) {
  world().Trace("coordinator announces generation $0, next is round $1", effect.generation, effect.resume);
  if (!world().has(PlantedBug::kAnnouncesEarly)) {
    for (const ShardProcess* shard : directory_.shards) {
      // A shard may lose its memory between its answer and now: the next generation is under way.
      world().Expect(
          shard->core().generation() >= effect.generation || directory_.lost[shard->index().value()],
          absl::StrCat("a generation is announced before shard ", shard->index().value(), " has installed it (G1)"));
    }
  }
  if (!world().has(PlantedBug::kAnnouncesEarly)) {
    CheckDurable(durable_.generation == effect.generation && durable_.announced == effect.resume,
                 "where a generation resumes");
  }
  directory_.newest_announced = std::max(directory_.newest_announced, effect.generation);
  if (std::exchange(newest_announced_, effect.generation) != effect.generation) {
    CheckResume(effect.generation, effect.resume);
  }
  for (Incarnation to : effect.to) {
    if (!announced_.insert({effect.generation, to}).second) world().Count(Occurrence::kAnnouncedAgain);
    Link* link = WorkerLink(to);
    if (link == nullptr) continue;  // has not found this life of the coordinator yet
    const bool hides = world().has(PlantedBug::kHidesRollback);
    const client::GenerationAnnounced announced{effect.generation, effect.resume, effect.members,
                                                hides ? Generation(0) : effect.rolled_back_in};
    link->Send(End::kClient, [worker = Find(to), announced] { worker->OnAnnounced(announced); });
  }
  BeginCheckpoints(effect.resume);
}

// A shard without its disk would take the run back: the coordinator knows better, even if nobody is left who has held
// anything.
void CoordinatorProcess::CheckResume(Generation generation, Round resume) {
  const auto& held = world().oracle().Held(generation);
  world().Expect(!held || resume > *held, absl::StrCat("the run goes back to round ", resume.value(),
                                                       ", but a version was held, and nobody says so (G5)"));
}

void CoordinatorProcess::Do(const core::WelcomeShard&) {}

void CoordinatorProcess::Do(const core::RefuseShard& effect) {
  world().Trace("coordinator refuses shard $0, incarnation $1", effect.shard, effect.incarnation);
}

// The worst moment for a shard's stream to break is while a generation changes.
void CoordinatorProcess::MaybeBreakShardLink(ShardIndex shard) {
  if (world().now() >= world().plan().faults_end) return;
  if (!world().random().Chance(world().plan().faults.break_shard_in_change)) return;
  Link* link = ShardLink(shard);
  After(world().random().Skewed(absl::ZeroDuration(), 2 * world().plan().delay), [this, shard, link] {
    if (!link->open()) return;
    world().Count(Occurrence::kShardStreamBreakInChange);
    world().Trace("the stream of shard $0 breaks during a change", shard);
    link->Break();
  });
}

void CoordinatorProcess::Do(const core::SendSeal& effect) {
  CheckDurable(durable_.generation == effect.generation, "a generation");
  const auto& used = directory_.generations;
  const bool fresh = used.empty() || used.rbegin()->first < effect.generation;
  const auto [at, is_new] = directory_.generations.try_emplace(effect.generation, life_);
  world().Expect(fresh || (!is_new && at->second == life_), "a generation number is used twice (G3)");
  Link* link = ShardLink(effect.shard);
  auto* shard = static_cast<ShardProcess*>(&link->process(End::kClient));
  link->Send(End::kClient, [shard, effect] { shard->OnSeal({effect.generation, effect.to}); });
  MaybeBreakShardLink(effect.shard);
}

void CoordinatorProcess::Do(const core::SendInstall& effect) {
  const core::InstallGeneration install{.generation = effect.generation,
                                        .to = effect.to,
                                        .resume = effect.resume,
                                        .members = effect.members,
                                        .blocks = 0,
                                        .decided = effect.decided};
  CheckDurable(durable_.generation == effect.generation, "a generation");
  std::optional<Version> restore;
  if (effect.restoring == core::Restoring::kRollback) {
    restore = effect.resume.previous();
    CheckDurable(durable_.rollback && durable_.rollback->generation == effect.generation, "that the run goes back");
  }
  Link* link = ShardLink(effect.shard);
  auto* shard = static_cast<ShardProcess*>(&link->process(End::kClient));
  link->Send(End::kClient, [shard, install, restore] { shard->OnInstall(install, restore); });
  MaybeBreakShardLink(effect.shard);
  const bool last = effect.shard.value() + 1 == world().plan().shards();
  if (!world().has(PlantedBug::kAnnouncesEarly) || !last) return;
  std::vector<Incarnation> to;
  for (const Member& member : effect.members) to.push_back(member.incarnation);
  Do(core::AnnounceGeneration{effect.generation, effect.resume, effect.members, to});
}

void CoordinatorProcess::Do(const core::DecideRound& effect) {
  if (effect.shard == ShardIndex(0)) {
    world().Trace("coordinator closes round $0 of generation $1 with $2 ranks", effect.round, effect.generation,
                  effect.participants.size());
    CountDecision(effect);
  }
  for (Rank rank : effect.participants) directory_.given[{effect.generation, rank}] = effect.round;
  Link* link = ShardLink(effect.shard);
  auto* shard = static_cast<ShardProcess*>(&link->process(End::kClient));
  const core::CloseRound close{effect.generation, effect.round, effect.participants};
  link->Send(End::kClient, [shard, close] { shard->OnClose(close); });
}

void CoordinatorProcess::CountDecision(const core::DecideRound& effect) {
  size_t members = 0;
  for (const core::Seat& seat : core_.seats()) members += seat.state != core::SeatState::kLeft;
  if (effect.participants.size() >= members) return world().Count(Occurrence::kFullRound);
  const bool quorum = world().plan().policy.kind == core::RoundPolicy::Kind::kQuorum;
  world().Count(quorum ? Occurrence::kQuorumRound : Occurrence::kDeadlineRound);
}

void CoordinatorProcess::Do(const core::GiveVersion& effect) {
  if (effect.shard == ShardIndex(0)) world().Count(Occurrence::kVersionGiven);
  directory_.given[{effect.generation, effect.rank}] = effect.version;
  Link* link = ShardLink(effect.shard);
  auto* shard = static_cast<ShardProcess*>(&link->process(End::kClient));
  const core::ServeRank serve{effect.generation, effect.rank, effect.version};
  link->Send(End::kClient, [shard, serve] { shard->OnServe(serve); });
}

void CoordinatorProcess::Do(const core::EndRun& effect) {
  world().Trace("coordinator ends the run, state $0", core_.state());
  world().Remark(effect.failure);
  if (effect.failure.empty()) {
    CheckDurable(durable_.done, "that the run has ended");
    if (world().random().Chance(world().plan().faults.crash_at_end)) {
      After(world().random().Skewed(absl::ZeroDuration(), world().plan().delay), directory_.crash_coordinator);
    }
  } else {
    CheckFailure(effect.failure);
    world().NoteLossReported();
  }
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    if (shards_[s] == nullptr) continue;
    auto* shard = static_cast<ShardProcess*>(&shards_[s]->process(End::kClient));
    shards_[s]->Send(End::kClient, [shard] { shard->OnFinish(); });
  }
  for (auto& [incarnation, link] : workers_) {
    link->Send(End::kClient, [worker = Find(incarnation)] { worker->OnRunEnded(); });
  }
}

// ---- Going back to a checkpoint ----

void CoordinatorProcess::OnShardSays(const core::ShardRestorable& event) {
  world().Trace("coordinator hears that shard $0 can restore $1 versions for generation $2", event.shard,
                event.versions.size(), event.generation);
  Step(event);
}

void CoordinatorProcess::Do(const core::SendFindRestorable& effect) {
  if (effect.shard == ShardIndex(0)) {
    world().Trace("coordinator looks for a checkpoint in generation $0", effect.generation);
    if (manifests_.busy() && world().random().Chance(500)) manifests_.Hurry();
    findable_.reset();
    for (const core::RestorableVersion& whole : directory_.checkpoints->Restorable(ShardIndex(0))) {
      const bool current = world().oracle().SameVersion(whole.version, whole.completed_in, effect.generation);
      if (current) findable_ = whole.version;
      if (!current) world().Count(Occurrence::kAbandonedCheckpoint);
    }
  }
  Link* link = ShardLink(effect.shard);
  auto* shard = static_cast<ShardProcess*>(&link->process(End::kClient));
  link->Send(End::kClient, [shard, effect] { shard->OnFindRestorable(effect.generation, effect.to); });
  MaybeBreakShardLink(effect.shard);
}

// It has decided to go back: only because something was lost, to what all shards have whole, and not further than that.
void CoordinatorProcess::NoteRollback(const core::Rollback& rollback) {
  world().Trace("the run goes back from version $0 to $1 in generation $2", rollback.from, rollback.to,
                rollback.generation);
  world().Remark(rollback.reason);
  const bool under_way = directory_.newest_announced < world().oracle().began();
  const bool any_lost = std::find(directory_.lost.begin(), directory_.lost.end(), true) != directory_.lost.end();
  world().Expect(any_lost || under_way, "the run goes back, but no shard has lost anything (G5)");
  world().Expect(directory_.checkpoints->IsWhole(rollback.to),
                 absl::StrCat("the run goes back to version ", rollback.to.value(), ", which is no checkpoint (G5)"));
  world().Expect(!findable_ || rollback.to >= *findable_,
                 absl::StrCat("the run goes back to version ", rollback.to.value(), ", but every shard has version ",
                              findable_ ? findable_->value() : 0, " (G5)"));
  const auto& held = world().newest_held();
  world().Count(Occurrence::kRollback);
  if (held && *held > rollback.to) world().Count(Occurrence::kRollbackLosesHeld);
  if (under_way) world().Count(Occurrence::kRollbackRepeated);
  if (!under_way && rollback.times > 1) world().Count(Occurrence::kRollbackAgain);
  if (world().plan().policy.decides()) world().Count(Occurrence::kRollbackOfDecisions);
  if (world().plan().elastic) world().Count(Occurrence::kRollbackElastic);
  if (!world().plan().checkpoints.journal) world().Count(Occurrence::kRollbackWithoutJournal);
  if (std::count(directory_.lost.begin(), directory_.lost.end(), true) > 1) world().Count(Occurrence::kSeveralLost);
  world().NoteRollback(rollback.generation, rollback.to, under_way);
  if (world().now() < world().plan().faults_end && world().random().Chance(world().plan().faults.crash_in_going_back)) {
    const ShardIndex any(static_cast<uint32_t>(world().random().Below(world().plan().shards())));
    world().At(world().now() + world().random().Skewed(absl::ZeroDuration(), 4 * world().plan().checkpoints.write),
               [this, any] { directory_.crash_shard(any); });
  }
  if (world().now() < world().plan().faults_end && world().random().Chance(world().plan().faults.lose_again)) {
    world().At(world().now() + world().random().Skewed(absl::ZeroDuration(), absl::Seconds(2)),
               [this] { directory_.lose_any_disk(); });
  }
}

// A run fails only if a shard has lost what it had, and there is nothing that it could go back to.
void CoordinatorProcess::CheckFailure(const std::string& failure) {
  const bool expected = world().plan().loses_shard() && absl::StrContains(failure, "lost its memory");
  world().Expect(expected, absl::StrCat("the run fails (G6): ", failure));
  world().Expect(!core_.options().checkpoints || !findable_,
                 absl::StrCat("the run fails, but every shard can restore version ", findable_ ? findable_->value() : 0,
                              " (G5): ", failure));
}

// ---- Checkpoints ----

template <class CheckpointEvent>
void CoordinatorProcess::StepCheckpoints(const CheckpointEvent& event) {
  if (!core_.options().checkpoints) return;
  core::CheckpointEffects effects;
  checkpoints_.Step(event, Now(), effects);
  Run(effects);
}

void CoordinatorProcess::OnShardSays(const core::RoundSeen& event) { StepCheckpoints(event); }
void CoordinatorProcess::OnShardSays(const core::PartWritten& event) { StepCheckpoints(event); }
void CoordinatorProcess::OnShardSays(const core::PartMissed& event) { StepCheckpoints(event); }

void CoordinatorProcess::Run(const core::CheckpointEffects& effects) {
  for (const core::CheckpointEffect& effect : effects) {
    if (const auto* write = std::get_if<core::WriteCheckpointManifest>(&effect)) {
      WriteManifest(*write);
      continue;
    }
    if (const auto* remove = std::get_if<core::RemoveOldCheckpoints>(&effect)) {
      RemoveOld(remove->newest);
      continue;
    }
    const Version version = std::get<core::AskForCheckpoint>(effect).version;
    world().Trace("coordinator asks for a checkpoint of version $0", version);
    for (Link* link : shards_) {
      if (link == nullptr) continue;
      auto* shard = static_cast<ShardProcess*>(&link->process(End::kClient));
      link->Send(End::kClient, [shard, version] { shard->OnTakeCheckpoint(version); });
    }
  }
}

// A generation begins. One that is announced again to a worker that has come back changes nothing.
void CoordinatorProcess::BeginCheckpoints(Round resume) {
  const Generation before = std::exchange(begun_, core_.generation());
  if (before == core_.generation()) return;
  StepCheckpoints(core::GenerationBegins{.resume = resume, .restored = core_.RestoredSince(before)});
}

void CoordinatorProcess::WriteManifest(const core::WriteCheckpointManifest& effect) {
  const Version version = effect.parts[0].version;
  world().Trace("coordinator writes the manifest of version $0", version);
  for (uint32_t s = 0; s < world().plan().shards(); ++s) {
    world().Expect(s < effect.parts.size() && directory_.checkpoints->Find(ShardIndex(s), version) != nullptr,
                   absl::StrCat("a checkpoint of version ", version.value(), " is said to exist, but shard ", s,
                                " has not written its part (G5)"));
  }
  const FaultPlan& faults = world().plan().faults;
  const bool lose = world().now() < world().plan().faults_end && world().random().Chance(faults.lose_in_manifest);
  if (lose) {
    world().At(world().now() + world().random().Skewed(absl::ZeroDuration(), absl::Milliseconds(300)),
               [this] { directory_.lose_any_disk(); });
  }
  manifests_.Add({{.write = [this, effect] { directory_.checkpoints->WriteManifest(effect.parts); },
                   .then =
                       [this, version] {
                         world().Trace("coordinator has written the manifest of version $0", version);
                         world().Count(Occurrence::kManifestWritten);
                         const bool changing =
                             core_.state() != core::RunState::kTraining || begun_ != core_.generation();
                         if (changing) world().Count(Occurrence::kManifestInChange);
                         StepCheckpoints(core::ManifestWritten{.version = version, .error = "", .changing = changing});
                         if (checkpoints_.newest() != version) {
                           GiveUpManifest();
                         } else if (world().random().Chance(world().plan().faults.lose_after_checkpoint)) {
                           world().At(world().now() + world().random().Skewed(absl::ZeroDuration(), absl::Seconds(1)),
                                      [this] { directory_.lose_any_disk(); });
                         }
                         if (changing && world().has(PlantedBug::kRemovesAlways)) RemoveOld(version);
                       },
                   .crashed = Occurrence::kCrashWritingManifest,
                   .slow = lose}});
}

// What it has just written is of a history that the run has given up meanwhile: the worst moment to lose a disk again.
void CoordinatorProcess::GiveUpManifest() {
  world().Count(Occurrence::kManifestGivenUp);
  if (world().now() >= world().plan().faults_end || !world().random().Chance(500)) return;
  world().At(world().now() + world().random().Skewed(absl::ZeroDuration(), absl::Milliseconds(100)),
             [this] { directory_.lose_any_disk(); });
}

void CoordinatorProcess::RemoveOld(Version newest) {
  manifests_.Add({{.then = [this, newest] {
    world().Trace("coordinator removes checkpoints before version $0", newest);
    const size_t removed = directory_.checkpoints->RemoveOld(world().plan().checkpoints.keep, newest);
    if (removed > 0) world().Count(Occurrence::kCheckpointRemoved);
  }}});
}

void CoordinatorProcess::Do(const core::Note& effect) { world().Remark(effect.text); }

}  // namespace lockstep::sim
