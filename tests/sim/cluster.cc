#include "tests/sim/cluster.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::sim {

Cluster::Cluster(World& world) : world_(world) {
  directory_.shards.resize(world.plan().shards(), nullptr);
  for (uint32_t s = 0; s < world.plan().shards(); ++s) {
    directory_.journals.push_back(std::make_unique<Journal>(world, world.plan().syncs,
                                                            [this, s] { CrashShard(ShardIndex(s), DrawCrashKind()); }));
  }
  directory_.coordinator_disk = std::make_unique<Disk<core::CoordinatorMemory>>(
      world, /*syncs=*/true, [this] { directory_.crash_coordinator(); });
  directory_.checkpoints = std::make_unique<CheckpointFolder>(world.plan().shards());
  directory_.bases.resize(world.plan().shards());
  directory_.lost.resize(world.plan().shards(), false);
  directory_.crash_shard = [this](ShardIndex index) { CrashShard(index, DrawCrashKind()); };
  directory_.lose_any_disk = [] {};
  directory_.crash_coordinator = [this] { CrashShard(ShardIndex(0), DrawCrashKind()); };
  coordinators_.push_back(std::make_unique<CoordinatorProcess>(world, directory_, 0));
  directory_.coordinator = coordinators_.back().get();
  directory_.coordinator->Kill();
}

// ---- Start ----

void Cluster::Start() {
  Random& random = world_.random();
  std::vector<absl::Duration> shards;
  for (uint32_t s = 0; s < world_.plan().shards(); ++s) {
    shards.push_back(random.Skewed(absl::ZeroDuration(), world_.plan().start));
    After(shards.back(), [this, s] { StartShard(ShardIndex(s)); });
  }
  const absl::Duration last_shard = *std::max_element(shards.begin(), shards.end());
  for (uint32_t w = 0; w < world_.plan().workers; ++w) {
    const absl::Duration when = random.Skewed(absl::ZeroDuration(), world_.plan().start);
    if (when < last_shard) world_.Count(Occurrence::kWorkerBeforeShard);
    if (when > absl::Seconds(1)) world_.Count(Occurrence::kLateStart);
    After(when, [this] { StartWorker(NewName(), WorkerKind::kTrains); });
  }
  After(world_.plan().start, [this] { SuperviseLater(); });
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

void Cluster::StartCoordinator() {
  coordinators_.push_back(std::make_unique<CoordinatorProcess>(world_, directory_, coordinators_.size()));
  directory_.coordinator = coordinators_.back().get();
  directory_.coordinator->Start();
}

void Cluster::StartShard(ShardIndex index) {
  world_.Trace("shard $0 starts", index);
  if (index == ShardIndex(0)) StartCoordinator();
  const bool is_back = directory_.shards[index.value()] != nullptr;
  if (is_back) {
    world_.Count(Occurrence::kShardBack);
    if (directory_.journals[index.value()]->records().empty()) world_.Count(Occurrence::kShardBackBlank);
  }
  shards_.push_back(std::make_unique<ShardProcess>(world_, directory_, index, Incarnation(1 + shards_.size())));
  directory_.shards[index.value()] = shards_.back().get();
  shards_.back()->Start();
  if (!is_back || world_.now() >= world_.plan().faults_end) return;
  if (!world_.random().Chance(world_.plan().faults.crash_again)) return;
  After(world_.random().Skewed(absl::ZeroDuration(), absl::Seconds(1)), [this, index, shard = shards_.back().get()] {
    if (directory_.shards[index.value()] != shard || !CrashShard(index, DrawCrashKind())) return;
    world_.Count(Occurrence::kCrashAgain);
  });
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

CrashKind Cluster::DrawCrashKind() {
  return world_.random().Chance(world_.plan().faults.power_loss) ? CrashKind::kPowerLoss : CrashKind::kKill;
}

bool Cluster::CrashShard(ShardIndex index, CrashKind kind) {
  ShardProcess* shard = directory_.shards[index.value()];
  if (shard == nullptr || !shard->alive() || shard->finished()) return false;
  // Without a journal this is the end of the run as long as there is no checkpoint: not always.
  const bool journal = world_.plan().checkpoints.journal;
  const bool hopeless = !journal && directory_.checkpoints->Restorable(ShardIndex(0)).empty() && world_.newest_held();
  if (hopeless && !world_.random().Chance(20)) return false;
  world_.Trace("shard $0 crashes, kind $1", index, kind);
  if (!journal) directory_.lost[index.value()] = true;
  if (kind == CrashKind::kPowerLoss) world_.Count(Occurrence::kPowerLoss);
  shard->Crash();
  shard->Kill();
  BreakLinks(*shard);
  directory_.journals[index.value()]->Crash(kind);
  if (index == ShardIndex(0)) {
    coordinator().Crash();
    coordinator().Kill();
    BreakLinks(coordinator());
    directory_.coordinator_disk->Crash(kind);
  }
  if (kind == CrashKind::kPowerLoss) {
    world_.Count(Occurrence::kReboot);
    world_.Reboot(PlaceOf(index));
  }
  After(world_.random().Skewed(absl::Milliseconds(1), absl::Seconds(3)), [this, index] { StartShard(index); });
  return true;
}

bool Cluster::LoseShard(ShardIndex index) {
  if (!CrashShard(index, CrashKind::kKill)) return false;
  world_.Trace("shard $0 loses its disk", index);
  directory_.journals[index.value()]->Erase();
  directory_.bases[index.value()].reset();
  directory_.lost[index.value()] = true;
  return true;
}

void Cluster::CrashAll(CrashKind kind) {
  for (size_t i = 0; i < directory_.workers.size(); ++i) {
    if (directory_.workers[i]->alive()) CrashWorker(*directory_.workers[i]);
  }
  for (uint32_t s = 0; s < world_.plan().shards(); ++s) CrashShard(ShardIndex(s), kind);
}

std::vector<Process*> Cluster::Running() {
  std::vector<Process*> running;
  const auto add = [&](Process* process) {
    if (process != nullptr && process->running()) running.push_back(process);
  };
  add(&coordinator());
  for (ShardProcess* shard : directory_.shards) add(shard);
  for (auto& worker : directory_.workers) add(worker.get());
  return running;
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
  After(world_.random().Between(absl::Milliseconds(50), absl::Milliseconds(500)), [this] {
    Supervise();
    SuperviseLater();
  });
}

// Whether somebody is alive who holds the rank, or nobody needs to.
bool Cluster::Covered(const core::Seat& seat) const {
  if (seat.state == core::SeatState::kLeft) return true;
  if (seat.state == core::SeatState::kAbsent) return !seat.expected;
  return std::any_of(directory_.workers.begin(), directory_.workers.end(),
                     [&](const auto& worker) { return worker->alive() && worker->incarnation() == seat.incarnation; });
}

// Living workers that hold no rank, and may get one.
uint32_t Cluster::Unseated() const {
  const auto& seats = directory_.coordinator->core().seats();
  const auto unseated = [&](const auto& worker) {
    const bool seated = std::any_of(seats.begin(), seats.end(), [&](const core::Seat& seat) {
      return seat.state != core::SeatState::kAbsent && seat.incarnation == worker->incarnation();
    });
    return worker->alive() && worker->kind() == WorkerKind::kTrains && !seated &&
           !directory_.fenced.contains(worker->incarnation());
  };
  return static_cast<uint32_t>(std::count_if(directory_.workers.begin(), directory_.workers.end(), unseated));
}

void Cluster::Supervise() {
  if (world_.loss_reported()) return;
  uint32_t candidates = Unseated();
  const auto seats = directory_.coordinator->core().seats();
  for (const core::Seat& seat : seats) {
    if (Covered(seat)) continue;
    if (candidates > 0) {
      --candidates;
      continue;
    }
    if (world_.now() < world_.plan().faults_end && world_.random().Chance(world_.plan().faults.forsake)) {
      world_.Count(Occurrence::kForsaken);
      continue;
    }
    const bool other = seat.name.empty() || world_.random().Chance(world_.plan().faults.other_name);
    StartWorker(other ? NewName() : seat.name, WorkerKind::kTrains);
  }
}

// ---- Checks ----

void Cluster::Check() {
  uint64_t low = UINT64_MAX;
  uint64_t high = 0;
  const auto& held = world_.newest_held();
  for (uint32_t s = 0; s < directory_.shards.size(); ++s) {
    const ShardProcess* shard = directory_.shards[s];
    if (shard == nullptr || !HasItsPart(*shard)) continue;
    const bool journal = world_.plan().checkpoints.journal;
    const Round safe = journal ? directory_.journals[s]->Safe().next() : shard->core().next_round();
    const Round next = shard->alive() ? shard->core().next_round() : safe;
    low = std::min(low, next.value());
    high = std::max(high, next.value());
    if (held && safe <= *held) {
      world_.Violate(absl::StrCat("version ", held->value(), " is held, but shard ", s, " would come back to round ",
                                  safe.value(), " (G5)"));
    }
  }
  if (low == UINT64_MAX) return;
  world_.Expect(high <= low + 1,
                absl::StrCat("shards are at rounds ", low, " and ", high, ": more than one apart (G1)"));
  world_.Expect(!held || low > held->value(),
                absl::StrCat("a shard is at round ", low, ", but version ", held ? held->value() : 0, " is held (G1)"));
}

// Whether what the shard has counts: not if it was lost and nothing is installed since. Nor if the run is going back
// and the shard has not done so yet; but once anybody has been told, every shard has.
bool Cluster::HasItsPart(const ShardProcess& shard) {
  const size_t s = shard.index().value();
  const bool journal = world_.plan().checkpoints.journal;
  const Generation safe = journal         ? directory_.journals[s]->Safe().installed()
                          : shard.alive() ? shard.core().generation()
                                          : Generation(0);
  const Generation installed = shard.alive() ? std::min(safe, shard.core().generation()) : safe;
  if (directory_.lost[s] && installed > Generation(0)) directory_.lost[s] = false;
  if (directory_.lost[s]) return false;
  const Generation began = world_.oracle().began();
  if (installed >= began) return true;
  world_.Expect(directory_.newest_announced < began,
                absl::StrCat("the run has gone back, but shard ", s, " has not (G5)"));
  return false;
}

void Cluster::CheckDisks() {
  const auto& held = world_.newest_held();
  const bool settled = directory_.newest_announced >= world_.oracle().began();
  if (!held || !settled || !world_.plan().checkpoints.journal) return;
  const Version last = *held;
  for (uint32_t s = 0; s < directory_.shards.size(); ++s) {
    if (directory_.lost[s]) continue;
    if (directory_.shards[s] != nullptr && directory_.shards[s]->alive())
      directory_.journals[s]->Crash(DrawCrashKind());
    const ShardProcess back(world_, directory_, ShardIndex(s), Incarnation());
    world_.Expect(back.core().next_round() >= last.next(),
                  absl::StrCat("shard ", s, " has lost the last version (G5)"));
    if (!world_.violation()) back.CheckBits(back.core().next_round().previous());
  }
}

void Cluster::CheckSilenceLater() {
  After(world_.plan().lease / 5, [this] {
    CheckSilence();
    CheckSilenceLater();
  });
}

void Cluster::CheckSilence() {
  if (coordinator().running()) {
    for (const core::Seat& seat : coordinator().core().seats()) CheckSeat(seat);
  }
  for (const ShardProcess* shard : directory_.shards) {
    if (shard != nullptr && shard->alive()) CheckMissing(*shard);
  }
  for (const auto& worker : directory_.workers) CheckServed(*worker);
}

// A worker that waits is given a version soon after every shard has one for it, if nothing keeps them from talking.
void Cluster::CheckServed(const WorkerProcess& worker) {
  const client::SessionCore* session = worker.session();
  const auto serves = [&](const ShardProcess* shard) {
    return shard != nullptr && shard->running() && shard->core().serving() && !shard->core().journaling() &&
           shard->core().generation() == session->generation() && shard->core().next_round() > session->next();
  };
  const bool waits = session != nullptr && worker.running() && worker.waits() && worker.connected() &&
                     !directory_.fenced.contains(worker.incarnation()) && coordinator().running() &&
                     directory_.coordinator_disk->busy_since() == absl::InfiniteFuture();
  if (!waits || !std::all_of(directory_.shards.begin(), directory_.shards.end(), serves)) {
    unserved_.erase(worker.incarnation());
    return;
  }
  const Plan& plan = world_.plan();
  auto& [round, since] = unserved_.try_emplace(worker.incarnation(), session->next(), world_.now()).first->second;
  if (round != session->next()) {
    round = session->next();
    since = world_.now();
  }
  const absl::Duration patience = absl::Milliseconds(2500) + 60 * plan.delay + plan.longest_stall() + 20 * plan.disk;
  world_.Expect(world_.now() - since <= patience,
                absl::StrCat("worker '", worker.name(), "' waits for round ", session->next().value(),
                             ", which is over, and nobody tells it (G6)"));
}

// A worker that has been silent for longer than its lease, and the time that the last of its messages may have been
// under way, is named by the coordinator, if it has itself been running for so long.
void Cluster::CheckSeat(const core::Seat& seat) {
  if (seat.state != core::SeatState::kJoined && seat.state != core::SeatState::kActive) return;
  const Plan& plan = world_.plan();
  const absl::Duration slack = plan.lease / 5 + absl::Milliseconds(300) + 60 * plan.delay + plan.longest_stall();
  for (const auto& worker : directory_.workers) {
    if (worker->incarnation() != seat.incarnation) continue;
    const absl::Time since = std::max(worker->silent_since(), coordinator().running_since());
    world_.Expect(world_.now() - since <= plan.lease + slack || worker->running(),
                  absl::StrCat("worker '", worker->name(), "' is dead or stopped, and nobody says so (G6)"));
  }
}

// A shard that waits says for whom, or that it waits for its disk.
void Cluster::CheckMissing(const ShardProcess& shard) {
  const absl::Time disk = directory_.journals[shard.index().value()]->busy_since();
  const bool greeted = shard.core().serving() || shard.core().journaling();
  world_.Expect(!greeted || disk == absl::InfiniteFuture() || shard.core().journaling(),
                absl::StrCat("shard ", shard.index().value(), " waits for its disk, and does not say so (G6)"));
  world_.Expect(!shard.core().journaling() || shard.core().journaling_since() <= shard.ClockAt(disk),
                "a shard waits for its disk for longer than it says (G6)");
  if (!shard.core().serving() || shard.computing() || shard.core().journaling()) return;
  if (shard.core().undecided()) return;  // perhaps all who are needed are there; see CheckServed
  const std::vector<core::Missing> missing = shard.core().MissingBlocks();
  const bool named = std::any_of(missing.begin(), missing.end(), [](const core::Missing& m) { return m.blocks > 0; });
  world_.Expect(named, absl::StrCat("shard ", shard.index().value(), " waits, but for nobody (G6)"));
}

bool Cluster::Finished() const {
  if (directory_.coordinator->core().state() != core::RunState::kDone) return false;
  return std::none_of(directory_.workers.begin(), directory_.workers.end(), [](const auto& w) { return w->alive(); }) &&
         std::all_of(directory_.shards.begin(), directory_.shards.end(),
                     [](const auto* s) { return s != nullptr && s->finished(); });
}

std::string Cluster::Unfinished() const {
  const core::CoordinatorCore& core = directory_.coordinator->core();
  std::string text = absl::StrCat("the run does not end (G6): coordinator state ", core.state(), ", generation ",
                                  core.generation().value(), "; seats");
  for (const core::Seat& seat : core.seats()) absl::StrAppend(&text, " ", seat.state, "/", seat.incarnation.value());
  absl::StrAppend(&text, "; shards");
  for (const ShardProcess* shard : directory_.shards) {
    if (shard == nullptr) continue;
    absl::StrAppend(&text, " [generation ", shard->core().generation().value(), " round ",
                    shard->core().next_round().value(), " serving ", shard->core().serving(), " journaling ",
                    shard->core().journaling(), " missing");
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
