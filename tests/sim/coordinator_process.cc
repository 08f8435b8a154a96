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
      shards_(world.plan().shards(), nullptr) {}

core::CoordinatorCore CoordinatorProcess::Recover() {
  const core::CoordinatorOptions options{.run_id = kRunId,
                                         .workers = world().plan().workers,
                                         .shards = world().plan().shards(),
                                         .lease = world().plan().lease,
                                         .policy = world().plan().policy,
                                         .min_workers = world().plan().min_workers,
                                         .max_workers = world().plan().max_workers,
                                         .replace_timeout = world().plan().replace_timeout};
  if (disk_.records().empty()) return {options, world().now()};
  core::CoordinatorMemory memory = disk_.records().back();
  if (disk_.safe() > 0) durable_ = disk_.records()[disk_.safe() - 1];
  if (world().has(PlantedBug::kReusesGeneration) && memory.generation > Generation(0)) {
    memory.generation = memory.generation.previous();
  }
  if (world().has(PlantedBug::kForgetsFenced)) memory.fenced.clear();
  if (world().has(PlantedBug::kForgetsSeats)) memory.places.clear();
  const absl::Status status = core::CoordinatorCore::CheckMemory(options, memory);
  world().Expect(status.ok(), absl::StrCat("a coordinator cannot come back (G5): ", status.message()));
  return {options, memory, world().now()};
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
    TickLater();
  });
}

// ---- Events ----

void CoordinatorProcess::Step(const Event& event) {
  const core::RunState state = core_.state();
  const Generation generation = core_.generation();
  const std::vector<core::Seat> seats = core_.seats();
  core::CoordinatorEffects effects;
  std::visit([&](const auto& e) { core_.Step(e, world().now(), effects); }, event);
  CheckStep(state, generation);
  for (size_t r = 0; r < seats.size(); ++r) CountSeatChange(seats[r], core_.seats()[r]);
  Run(effects);
  WakeLater();
}

// Deadlines of rounds do not wait for the next tick.
void CoordinatorProcess::WakeLater() {
  const absl::Time when = core_.wakes_at();
  if (when == absl::InfiniteFuture() || when == wakes_at_) return;
  wakes_at_ = when;
  After(std::max(when - world().now(), absl::ZeroDuration()), [this] { Step(core::Tick{}); });
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
  if (IsNewest(link, workers_[event.incarnation])) Step(event);
}

void CoordinatorProcess::OnShard(Link& link, const core::ShardArrives& event) {
  world().Trace("coordinator hears shard $0, incarnation $1, arrive", event.shard, event.incarnation);
  if (IsNewest(link, shards_[event.shard.value()])) Step(event);
}

void CoordinatorProcess::Evict(Rank rank) {
  core::CoordinatorEffects effects;
  std::string name;
  if (!core_.Step(core::EvictRank{rank}, world().now(), effects, name).ok()) return;
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
  for (const auto& answer : sealed_) rolls_back = rolls_back && answer && answer->next > core_.resume();
  if (rolls_back) world().Count(Occurrence::kCompletedInDifferentGenerations);
}

void CoordinatorProcess::CountCrash() {
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
      // The shard that has lost its memory may do so again between its answer and now: the next generation is under
      // way.
      world().Expect(
          shard->core().generation() >= effect.generation || world().plan().loses_shard(),
          absl::StrCat("a generation is announced before shard ", shard->index().value(), " has installed it (G1)"));
    }
  }
  if (!world().has(PlantedBug::kAnnouncesEarly)) {
    CheckDurable(durable_.generation == effect.generation && durable_.announced == effect.resume,
                 "where a generation resumes");
  }
  if (std::exchange(newest_announced_, effect.generation) != effect.generation) CheckRollback(effect.resume);
  for (Incarnation to : effect.to) {
    if (!announced_.insert({effect.generation, to}).second) world().Count(Occurrence::kAnnouncedAgain);
    Link* link = WorkerLink(to);
    if (link == nullptr) continue;  // has not found this life of the coordinator yet
    const client::GenerationAnnounced announced{effect.generation, effect.resume, effect.members};
    link->Send(End::kClient, [worker = Find(to), announced] { worker->OnAnnounced(announced); });
  }
}

// A shard without its disk would take the run back: the coordinator knows better, even if nobody is left who has held
// anything.
void CoordinatorProcess::CheckRollback(Round resume) {
  const auto& held = world().newest_held();
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
  Link* link = ShardLink(effect.shard);
  auto* shard = static_cast<ShardProcess*>(&link->process(End::kClient));
  link->Send(End::kClient, [shard, install] { shard->OnInstall(install); });
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
    const bool expected = world().plan().loses_shard() && absl::StrContains(effect.failure, "lost its memory");
    world().Expect(expected, absl::StrCat("the run fails (G6): ", effect.failure));
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

void CoordinatorProcess::Do(const core::Note& effect) { world().Remark(effect.text); }

}  // namespace lockstep::sim
