#include "tests/sim/chaos.h"

#include <algorithm>
#include <vector>

namespace lockstep::sim {

void Chaos::Start() {
  const FaultPlan& faults = world_.plan().faults;
  StrikeLater(faults.crash, &Chaos::CrashWorker);
  StrikeLater(faults.pause, &Chaos::PauseWorker);
  StrikeLater(faults.evict, &Chaos::EvictWorker);
  StrikeLater(faults.break_worker, &Chaos::BreakWorkerStream);
  StrikeLater(faults.break_shard, &Chaos::BreakShardStream);
  StrikeLater(faults.break_data, &Chaos::BreakDataStream);
  StrikeLater(faults.pause_shard, &Chaos::PauseShard);
  StrikeLater(faults.stranger, &Chaos::StartStranger);
  StrikeLater(faults.wrong_model, &Chaos::StartWrongModel);
  StrikeLater(faults.lose_shard, &Chaos::LoseShard);
}

void Chaos::StrikeLater(absl::Duration interval, void (Chaos::*fault)()) {
  if (interval == absl::InfiniteDuration()) return;
  const absl::Time when = world_.now() + world_.random().Between(interval / 8, 2 * interval);
  if (when >= world_.plan().faults_end) return;
  world_.At(when, [this, interval, fault] {
    (this->*fault)();
    StrikeLater(interval, fault);
  });
}

WorkerProcess* Chaos::AnyWorker() {
  const std::vector<WorkerProcess*> running = cluster_.RunningWorkers();
  return running.empty() ? nullptr : running[world_.random().Below(running.size())];
}

void Chaos::CrashWorker() {
  WorkerProcess* worker = AnyWorker();
  if (worker == nullptr) return;
  world_.Count(Occurrence::kWorkerCrash);
  cluster_.CrashWorker(*worker);
}

void Chaos::PauseWorker() {
  WorkerProcess* worker = AnyWorker();
  if (worker == nullptr) return;
  world_.Count(Occurrence::kWorkerPause);
  world_.Trace("worker $0 is stopped", worker->incarnation());
  worker->Stop();
  const absl::Duration pause = world_.random().Between(world_.plan().lease / 8, 3 * world_.plan().lease);
  world_.At(world_.now() + pause, [this, worker] { WakeWorker(*worker); });
  if (!world_.random().Chance(world_.plan().faults.replace_paused)) return;
  const bool other = world_.random().Chance(world_.plan().faults.other_name);
  world_.At(world_.now() + world_.random().Between(absl::ZeroDuration(), pause * 5 / 4), [this, worker, other] {
    cluster_.StartWorker(other ? cluster_.NewName() : worker->name(), WorkerKind::kTrains);
  });
}

void Chaos::WakeWorker(WorkerProcess& worker) {
  world_.Trace("worker $0 wakes", worker.incarnation());
  if (worker.alive() && !cluster_.coordinator().fenced(worker.incarnation())) world_.Count(Occurrence::kWakeInTime);
  worker.NoteStopped();
  worker.Wake();
}

void Chaos::EvictWorker() { cluster_.coordinator().Evict(AnyRank()); }

void Chaos::PauseShard() {
  ShardProcess* shard = cluster_.directory().shards[world_.random().Below(world_.plan().shards())];
  if (shard == nullptr || !shard->alive() || shard->stopped()) return;
  world_.Count(Occurrence::kShardPause);
  world_.Trace("shard $0 is stopped", shard->index());
  shard->Stop();
  world_.At(world_.now() + world_.random().Skewed(absl::Milliseconds(1), absl::Seconds(2)), [this, shard] {
    world_.Trace("shard $0 wakes", shard->index());
    shard->Wake();
  });
}

void Chaos::StartStranger() { cluster_.StartWorker(cluster_.NewName(), WorkerKind::kStranger); }

// The first definition counts, so that a wrong one is only wrong once there is a right one.
void Chaos::StartWrongModel() {
  if (cluster_.coordinator().core().model()) cluster_.StartWorker(cluster_.NewName(), WorkerKind::kWrongModel);
}

void Chaos::LoseShard() {
  ShardProcess* shard = cluster_.directory().shards[world_.random().Below(world_.plan().shards())];
  if (shard_lost_ || shard == nullptr || shard->finished()) return;
  shard_lost_ = true;
  world_.Count(Occurrence::kShardLost);
  cluster_.RestartShard(shard->index());
}

void Chaos::BreakLink(LinkKind kind, Occurrence occurrence) {
  std::vector<Link*> open;
  for (auto& link : cluster_.directory().links) {
    if (link->open() && link->kind() == kind) open.push_back(link.get());
  }
  if (open.empty()) return;
  Link& link = *open[world_.random().Below(open.size())];
  world_.Count(occurrence);
  world_.Trace("stream $0 breaks", link.number());
  link.Break();
}

}  // namespace lockstep::sim
