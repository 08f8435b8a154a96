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
  StrikeLater(faults.newcomer, &Chaos::StartNewcomer);
  StrikeLater(faults.wrong_model, &Chaos::StartWrongModel);
  StrikeLater(faults.lose_shard, &Chaos::LoseShard);
  StrikeLater(faults.crash_shard, &Chaos::CrashShard);
  StrikeLater(faults.crash_coordinator, &Chaos::CrashCoordinator);
  StrikeLater(faults.crash_all, &Chaos::CrashAll);
  StrikeLater(faults.partition, &Chaos::Partition);
  StrikeLater(faults.pause_all, &Chaos::PauseAll);
  StrikeLater(faults.jump_wall, &Chaos::JumpWallClock);
  cluster_.directory().lose_any_disk = [this] { LoseOneMore(); };
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
  if (worker.alive() && !cluster_.directory().fenced.contains(worker.incarnation()))
    world_.Count(Occurrence::kWakeInTime);
  worker.NoteStopped();
  worker.Wake();
}

void Chaos::EvictWorker() {
  if (cluster_.coordinator().running()) cluster_.coordinator().Evict(AnyRank());
}

void Chaos::PauseShard() {
  ShardProcess* shard = cluster_.directory().shards[world_.random().Below(world_.plan().shards())];
  if (shard == nullptr || !shard->alive() || shard->stopped()) return;
  world_.Count(Occurrence::kShardPause);
  world_.Trace("shard $0 is stopped", shard->index());
  shard->Stop();
  CoordinatorProcess* coordinator = shard->index() == ShardIndex(0) ? &cluster_.coordinator() : nullptr;
  if (coordinator != nullptr) coordinator->Stop();
  world_.At(world_.now() + world_.random().Skewed(absl::Milliseconds(1), absl::Seconds(2)), [this, shard, coordinator] {
    world_.Trace("shard $0 wakes", shard->index());
    shard->Wake();
    if (coordinator != nullptr) coordinator->Wake();
  });
}

void Chaos::StartStranger() { cluster_.StartWorker(cluster_.NewName(), WorkerKind::kStranger); }

void Chaos::StartNewcomer() {
  if (cluster_.coordinator().durable().generation == Generation(0)) return;
  world_.Count(Occurrence::kNewcomer);
  cluster_.StartWorker(cluster_.NewName(), WorkerKind::kTrains);
}

// The first definition counts, so that a wrong one is only wrong once there is a right one.
void Chaos::StartWrongModel() {
  const core::CoordinatorMemory& durable = cluster_.coordinator().durable();
  if (durable.model && durable.generation > Generation(0))
    cluster_.StartWorker(cluster_.NewName(), WorkerKind::kWrongModel);
}

// By hours, back or forth: somebody sets it, or the machine was suspended.
void Chaos::JumpWallClock() {
  const absl::Duration by = world_.random().Between(absl::Seconds(1), absl::Hours(12));
  const bool back = world_.random().Chance(500);
  world_.Count(back ? Occurrence::kWallClockBack : Occurrence::kWallClockForth);
  world_.JumpWall(world_.random().Below(world_.plan().shards()), back ? -by : by);
}

// At a moment that others have chosen.
void Chaos::LoseOneMore() {
  constexpr uint32_t kMost = 6;
  const Plan& plan = world_.plan();
  if (plan.faults.lose_shard == absl::InfiniteDuration() || world_.now() >= plan.faults_end) return;
  if (shards_lost_ >= kMost) return;
  const uint64_t first = plan.shards() > 1 ? 1 : 0;  // without the coordinator
  if (cluster_.LoseShard(ShardIndex(static_cast<uint32_t>(world_.random().Between(first, plan.shards() - 1))))) {
    ++shards_lost_;
    world_.Count(Occurrence::kShardLost);
  }
}

void Chaos::LoseShard() {
  // Most runs are to have something that they can go back to.
  const Plan& plan = world_.plan();
  const bool hopeless =
      plan.checkpoints.rounds > 0 && cluster_.directory().checkpoints->Restorable(ShardIndex(0)).empty();
  if (hopeless && !world_.random().Chance(50)) return;
  ShardProcess* shard = cluster_.directory().shards[world_.random().Below(world_.plan().shards())];
  if (shards_lost_ >= plan.faults.lose_most || shard == nullptr || !cluster_.LoseShard(shard->index())) return;
  ++shards_lost_;
  world_.Count(Occurrence::kShardLost);
}

void Chaos::CrashShard() {
  if (world_.plan().shards() < 2) return;
  cluster_.CrashShard(ShardIndex(static_cast<uint32_t>(world_.random().Between(1, world_.plan().shards() - 1))),
                      cluster_.DrawCrashKind());
}

void Chaos::CrashCoordinator() { cluster_.CrashShard(ShardIndex(0), cluster_.DrawCrashKind()); }

void Chaos::CrashAll() {
  world_.Count(Occurrence::kCrashAll);
  world_.Trace("everything crashes");
  cluster_.CrashAll(cluster_.DrawCrashKind());
}

// As when the virtual machine that all of them run on is suspended: to each, its timers are late.
void Chaos::PauseAll() {
  const std::vector<Process*> running = cluster_.Running();
  world_.Count(Occurrence::kPauseAll);
  world_.Trace("everything is stopped");
  for (Process* process : running) process->Stop();
  world_.At(world_.now() + world_.random().Skewed(absl::Milliseconds(1), 2 * world_.plan().lease), [this, running] {
    world_.Trace("everything wakes");
    for (Process* process : running) process->Wake();
  });
}

void Chaos::Partition() {
  const std::vector<Process*> running = cluster_.Running();
  if (running.empty()) return;
  const uint64_t a = running[world_.random().Below(running.size())]->place();
  const uint64_t b = world_.random().Below(world_.plan().shards());
  if (a == b) return;
  const absl::Time until = world_.now() + world_.random().Skewed(absl::Milliseconds(20), Plan::kLongestPartition);
  const bool one_way = world_.random().Chance(400);
  const bool forth = !one_way || world_.random().Chance(500);
  world_.Count(one_way ? Occurrence::kPartitionOneWay : Occurrence::kPartition);
  world_.Trace("places $0 and $1 cannot talk: $2, $3", a, b, forth, !one_way || !forth);
  if (forth) cluster_.directory().Sever(world_, a, b, until);
  if (!one_way || !forth) cluster_.directory().Sever(world_, b, a, until);
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
