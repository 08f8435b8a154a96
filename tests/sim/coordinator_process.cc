#include "tests/sim/coordinator_process.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/shard_process.h"
#include "tests/sim/worker_process.h"

namespace lockstep::sim {

CoordinatorProcess::CoordinatorProcess(World& world, Directory& directory)
    : Process(world),
      directory_(directory),
      core_({.run_id = kRunId,
             .workers = world.plan().workers,
             .shards = world.plan().shards(),
             .lease = world.plan().lease},
            world.now()),
      shards_(world.plan().shards(), nullptr) {}

void CoordinatorProcess::Start() {
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
}

void CoordinatorProcess::CountSeatChange(const core::Seat& before, const core::Seat& after) {
  const bool same = before.incarnation == after.incarnation;
  const bool was_lost = before.state == core::SeatState::kLost;
  if (after.state == core::SeatState::kLost && !was_lost) world().Count(Occurrence::kLeaseExpired);
  if (same && was_lost && after.state == core::SeatState::kActive) world().Count(Occurrence::kBackAfterLost);
  if (same || before.incarnation == Incarnation()) return;
  world().Count(after.name == before.name ? Occurrence::kReplacedByName : Occurrence::kReplacedByOther);
}

void CoordinatorProcess::CheckStep(core::RunState before, Generation generation) {
  world().Expect(core_.generation() >= generation, "a generation number goes back");
  if (core_.generation() == generation) return;
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

// ---- Effects ----

void CoordinatorProcess::Run(const core::CoordinatorEffects& effects) {
  for (const core::CoordinatorEffect& effect : effects) {
    std::visit([this](const auto& e) { Do(e); }, effect);
  }
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

void CoordinatorProcess::Do(const core::WelcomeWorker& effect) {
  world().Trace("coordinator welcomes worker $0 as rank $1", effect.incarnation, effect.rank);
  world().Expect(!fenced(effect.incarnation), "a fenced worker is welcomed");
  Link* link = WorkerLink(effect.incarnation);
  link->Send(End::kClient, [worker = Find(effect.incarnation), effect] { worker->OnWelcome(effect.rank); });
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
  if (absl::StrContains(effect.status.message(), "fenced")) fenced_.insert(effect.incarnation);
  Link* link = WorkerLink(effect.incarnation);
  if (link == nullptr) return;
  link->Send(End::kClient, [worker = Find(effect.incarnation), effect] { worker->OnRefused(effect.status); });
  link->Close();
}

void CoordinatorProcess::Do(const core::AcknowledgeLeave& effect) {
  world().Trace("coordinator acknowledges that worker $0 leaves", effect.incarnation);
  if (!left_.insert(effect.incarnation).second) world().Count(Occurrence::kLeaveRepeated);
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
          absl::StrCat("a generation is announced before shard ", shard->index().value(), " has installed it"));
    }
  }
  CheckRollback(effect.resume);
  for (Incarnation to : effect.to) {
    if (!announced_.insert({effect.generation, to}).second) world().Count(Occurrence::kAnnouncedAgain);
    Link* link = WorkerLink(to);
    const client::GenerationAnnounced announced{effect.generation, effect.resume, effect.members};
    link->Send(End::kClient, [worker = Find(to), announced] { worker->OnAnnounced(announced); });
  }
}

// A shard without memory takes the run back. Any living worker that holds a version will say so; when there is none,
// and no other shard to tell, the run begins anew unnoticed: the one gap that only durable shards can close.
void CoordinatorProcess::CheckRollback(Round resume) {
  if (!world().plan().loses_shard() || !world().newest_held() || resume > *world().newest_held()) return;
  const bool told = std::any_of(directory_.workers.begin(), directory_.workers.end(), [&](const auto& worker) {
    return worker->alive() && !fenced(worker->incarnation()) && worker->held();
  });
  if (told) return;
  world().Count(Occurrence::kShardLossUnseen);
  world().NoteLossReported();
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
  ShardLink(effect.shard)->Send(End::kClient, [this, effect] {
    directory_.shards[effect.shard.value()]->OnSeal({effect.generation, effect.to});
  });
  MaybeBreakShardLink(effect.shard);
}

void CoordinatorProcess::Do(const core::SendInstall& effect) {
  const core::InstallGeneration install{
      .generation = effect.generation, .to = effect.to, .resume = effect.resume, .members = effect.members};
  ShardLink(effect.shard)->Send(End::kClient, [this, effect, install] {
    directory_.shards[effect.shard.value()]->OnInstall(install);
  });
  MaybeBreakShardLink(effect.shard);
  const bool last = effect.shard.value() + 1 == world().plan().shards();
  if (!world().has(PlantedBug::kAnnouncesEarly) || !last) return;
  std::vector<Incarnation> to;
  for (const Member& member : effect.members) to.push_back(member.incarnation);
  Do(core::AnnounceGeneration{effect.generation, effect.resume, effect.members, to});
}

void CoordinatorProcess::Do(const core::EndRun& effect) {
  world().Trace("coordinator ends the run, state $0", core_.state());
  world().Remark(effect.failure);
  if (!effect.failure.empty()) {
    const bool expected = world().plan().loses_shard() && absl::StrContains(effect.failure, "lost its memory");
    world().Expect(expected, absl::StrCat("the run fails: ", effect.failure));
    world().NoteLossReported();
  }
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    if (shards_[s] != nullptr) shards_[s]->Send(End::kClient, [this, s] { directory_.shards[s]->OnFinish(); });
  }
  for (auto& [incarnation, link] : workers_) {
    link->Send(End::kClient, [worker = Find(incarnation)] { worker->OnRunEnded(); });
  }
}

void CoordinatorProcess::Do(const core::Note& effect) { world().Remark(effect.text); }

}  // namespace lockstep::sim
