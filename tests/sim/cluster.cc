#include "tests/sim/cluster.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::sim {

Cluster::Cluster(World& world) : world_(world), coordinator_(std::make_unique<CoordinatorProcess>(world, directory_)) {
  directory_.coordinator = coordinator_.get();
  directory_.shards.resize(world.plan().shards(), nullptr);
}

// ---- Start ----

void Cluster::Start() {
  coordinator_->Start();
  Random& random = world_.random();
  std::vector<absl::Duration> shards;
  for (uint32_t s = 0; s < world_.plan().shards(); ++s) {
    shards.push_back(random.Skewed(absl::ZeroDuration(), world_.plan().start));
    coordinator_->After(shards.back(), [this, s] { StartShard(ShardIndex(s)); });
  }
  const absl::Duration last_shard = *std::max_element(shards.begin(), shards.end());
  for (uint32_t w = 0; w < world_.plan().workers; ++w) {
    const absl::Duration when = random.Skewed(absl::ZeroDuration(), world_.plan().start);
    if (when < last_shard) world_.Count(Occurrence::kWorkerBeforeShard);
    if (when > absl::Seconds(1)) world_.Count(Occurrence::kLateStart);
    coordinator_->After(when, [this] { StartWorker(NewName(), WorkerKind::kTrains); });
  }
  coordinator_->After(world_.plan().start, [this] { SuperviseLater(); });
  CheckSilenceLater();
}

std::string Cluster::NewName() { return absl::StrCat("w", names_++); }

WorkerProcess& Cluster::StartWorker(std::string name, WorkerKind kind) {
  const Incarnation incarnation(1000 + directory_.workers.size());
  world_.Trace("worker $0 starts", incarnation);
  directory_.workers.push_back(std::make_unique<WorkerProcess>(world_, directory_, incarnation, std::move(name), kind));
  directory_.workers.back()->Start();
  return *directory_.workers.back();
}

void Cluster::StartShard(ShardIndex index) {
  world_.Trace("shard $0 starts", index);
  shards_.push_back(std::make_unique<ShardProcess>(world_, directory_, index, Incarnation(1 + shards_.size())));
  directory_.shards[index.value()] = shards_.back().get();
  shards_.back()->Start();
}

// ---- Faults ----

void Cluster::BreakLinks(const Process& process) {
  for (size_t i = 0; i < directory_.links.size(); ++i) {
    Link& link = *directory_.links[i];
    if (&link.process(End::kClient) == &process || &link.process(End::kServer) == &process) link.Break();
  }
}

void Cluster::CrashWorker(WorkerProcess& worker) {
  world_.Trace("worker $0 crashes", worker.incarnation());
  worker.Kill();
  BreakLinks(worker);
}

void Cluster::RestartShard(ShardIndex index) {
  world_.Trace("shard $0 loses its memory", index);
  directory_.shards[index.value()]->Kill();
  BreakLinks(*directory_.shards[index.value()]);
  coordinator_->After(world_.random().Skewed(absl::Milliseconds(1), absl::Seconds(2)),
                      [this, index] { StartShard(index); });
}

std::vector<WorkerProcess*> Cluster::RunningWorkers() {
  std::vector<WorkerProcess*> running;
  for (auto& worker : directory_.workers) {
    if (worker->alive() && !worker->stopped() && worker->kind() == WorkerKind::kTrains) running.push_back(worker.get());
  }
  return running;
}

// ---- The supervisor ----

void Cluster::SuperviseLater() {
  coordinator_->After(world_.random().Between(absl::Milliseconds(50), absl::Milliseconds(500)), [this] {
    Supervise();
    SuperviseLater();
  });
}

// Whether somebody is alive who holds the rank, or nobody needs to.
bool Cluster::Covered(const core::Seat& seat) const {
  if (seat.state == core::SeatState::kLeft) return true;
  if (seat.state == core::SeatState::kAbsent) return false;
  return std::any_of(directory_.workers.begin(), directory_.workers.end(),
                     [&](const auto& worker) { return worker->alive() && worker->incarnation() == seat.incarnation; });
}

// Living workers that hold no rank, and may get one.
uint32_t Cluster::Unseated() const {
  const auto& seats = coordinator_->core().seats();
  const auto unseated = [&](const auto& worker) {
    const bool seated = std::any_of(seats.begin(), seats.end(), [&](const core::Seat& seat) {
      return seat.state != core::SeatState::kAbsent && seat.incarnation == worker->incarnation();
    });
    return worker->alive() && worker->kind() == WorkerKind::kTrains && !seated &&
           !coordinator_->fenced(worker->incarnation());
  };
  return static_cast<uint32_t>(std::count_if(directory_.workers.begin(), directory_.workers.end(), unseated));
}

void Cluster::Supervise() {
  if (world_.loss_reported()) return;
  uint32_t candidates = Unseated();
  const auto seats = coordinator_->core().seats();
  for (const core::Seat& seat : seats) {
    if (Covered(seat)) continue;
    if (candidates > 0) {
      --candidates;
      continue;
    }
    const bool other = seat.name.empty() || world_.random().Chance(world_.plan().faults.other_name);
    StartWorker(other ? NewName() : seat.name, WorkerKind::kTrains);
  }
}

// ---- Checks ----

void Cluster::Check() {
  if (world_.plan().loses_shard()) return;
  uint64_t low = UINT64_MAX;
  uint64_t high = 0;
  for (const ShardProcess* shard : directory_.shards) {
    if (shard == nullptr) continue;
    low = std::min(low, shard->core().next_round().value());
    high = std::max(high, shard->core().next_round().value());
  }
  if (low == UINT64_MAX) return;
  world_.Expect(high <= low + 1, absl::StrCat("shards are at rounds ", low, " and ", high, ": more than one apart"));
  const auto& held = world_.newest_held();
  world_.Expect(!held || low > held->value(),
                absl::StrCat("a shard is at round ", low, ", but version ", held ? held->value() : 0, " is held (G1)"));
}

void Cluster::CheckSilenceLater() {
  coordinator_->After(world_.plan().lease / 5, [this] {
    CheckSilence();
    CheckSilenceLater();
  });
}

// A worker that has been silent for longer than its lease, and the time that the last of its messages may have been
// under way, is named by the coordinator.
void Cluster::CheckSilence() {
  const absl::Duration slack = world_.plan().lease / 5 + absl::Milliseconds(300) + 60 * world_.plan().delay;
  for (const core::Seat& seat : coordinator_->core().seats()) {
    if (seat.state != core::SeatState::kJoined && seat.state != core::SeatState::kActive) continue;
    for (const auto& worker : directory_.workers) {
      if (worker->incarnation() != seat.incarnation) continue;
      world_.Expect(world_.now() - worker->silent_since() <= world_.plan().lease + slack,
                    absl::StrCat("worker '", worker->name(), "' is dead or stopped, and nobody says so (G6)"));
    }
  }
  for (const ShardProcess* shard : directory_.shards) {
    if (shard != nullptr && shard->alive()) CheckMissing(*shard);
  }
}

// A shard that waits says for whom.
void Cluster::CheckMissing(const ShardProcess& shard) {
  if (!shard.core().serving() || shard.computing()) return;
  const std::vector<core::Missing> missing = shard.core().MissingBlocks();
  const bool named = std::any_of(missing.begin(), missing.end(), [](const core::Missing& m) { return m.blocks > 0; });
  world_.Expect(named, absl::StrCat("shard ", shard.index().value(), " waits, but for nobody (G6)"));
}

bool Cluster::Finished() const {
  if (coordinator_->core().state() != core::RunState::kDone) return false;
  return std::none_of(directory_.workers.begin(), directory_.workers.end(), [](const auto& w) { return w->alive(); }) &&
         std::all_of(directory_.shards.begin(), directory_.shards.end(), [](const auto* s) { return s->finished(); });
}

std::string Cluster::Unfinished() const {
  const core::CoordinatorCore& core = coordinator_->core();
  std::string text = absl::StrCat("the run does not end (G6): coordinator state ", core.state(), ", generation ",
                                  core.generation().value(), "; seats");
  for (const core::Seat& seat : core.seats()) absl::StrAppend(&text, " ", seat.state, "/", seat.incarnation.value());
  absl::StrAppend(&text, "; shards");
  for (const ShardProcess* shard : directory_.shards) {
    if (shard == nullptr) continue;
    absl::StrAppend(&text, " [generation ", shard->core().generation().value(), " round ",
                    shard->core().next_round().value(), " serving ", shard->core().serving(), " missing");
    for (const core::Missing& m : shard->core().MissingBlocks())
      absl::StrAppend(&text, " ", m.rank.value(), ":", m.blocks);
    absl::StrAppend(&text, "]");
  }
  absl::StrAppend(&text, "; alive workers");
  for (const auto& worker : directory_.workers) {
    if (!worker->alive()) continue;
    absl::StrAppend(&text, " ", worker->incarnation().value(), worker->stopped() ? " (stopped)" : "");
  }
  return text;
}

}  // namespace lockstep::sim
