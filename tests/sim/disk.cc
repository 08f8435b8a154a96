#include "tests/sim/disk.h"

#include <algorithm>

namespace lockstep::sim {

absl::Time DiskQueue::busy_since() const {
  if (!unheard_.empty()) return unheard_.front();
  return tasks_.empty() ? absl::InfiniteFuture() : tasks_.front().asked;
}

void DiskQueue::Later(absl::Duration delay, void (DiskQueue::*what)()) {
  world_.At(world_.now() + delay, [this, life = life_, what] {
    if (life == life_) (this->*what)();
  });
}

absl::Duration DiskQueue::DrawTime() {
  const bool stalls = world_.now() < world_.plan().faults_end && world_.random().Chance(world_.plan().faults.slow_disk);
  if (!stalls) return world_.random().Skewed(absl::Microseconds(10), world_.plan().disk);
  world_.Count(Occurrence::kDiskStall);
  return world_.random().Between(absl::Milliseconds(300), absl::Seconds(8));
}

void DiskQueue::AppendOne(Process& writer, std::function<void()> done) {
  tasks_.push_back({true, &writer, std::move(done), world_.now()});
  StartNext();
}

void DiskQueue::Sync(Process& writer, std::function<void()> done) {
  tasks_.push_back({false, &writer, std::move(done), world_.now()});
  StartNext();
}

void DiskQueue::StartNext() {
  if (running_ || tasks_.empty()) return;
  running_ = true;
  is_whole_ = !tasks_.front().appends;
  const absl::Duration time = DrawTime();
  MaybeCrash(time);
  Later(time, &DiskQueue::BeWhole);
}

// The worst moment for a process to die is while it writes.
void DiskQueue::MaybeCrash(absl::Duration within) {
  if (world_.now() >= world_.plan().faults_end) return;
  if (!world_.random().Chance(world_.plan().faults.crash_in_write)) return;
  world_.At(world_.now() + world_.random().Between(absl::ZeroDuration(), 3 * within), [this, life = life_] {
    if (life == life_) crash_();
  });
}

void DiskQueue::BeWhole() {
  if (tasks_.front().appends) ++whole_;
  is_whole_ = true;
  if (!syncs_) return BeSafe();
  Later(DrawTime(), &DiskQueue::BeSafe);
}

void DiskQueue::BeSafe() {
  safe_ = whole_;
  Task task = std::move(tasks_.front());
  tasks_.pop_front();
  running_ = false;
  Acknowledge(std::move(task));
  StartNext();
}

void DiskQueue::Acknowledge(Task task) {
  unheard_.push_back(task.asked);
  world_.At(world_.now() + world_.random().Skewed(absl::ZeroDuration(), absl::Milliseconds(1)),
            [this, life = life_, task = std::move(task)] {
              if (life != life_) return;
              task.writer->Run([this, done = task.done] {
                unheard_.pop_front();
                done();
              });
            });
}

void DiskQueue::CrashQueue(CrashKind kind) {
  ++life_;
  const bool under_way = running_ && tasks_.front().appends;
  bool unheard = !unheard_.empty() || (under_way && is_whole_);
  if (under_way && !is_whole_) {
    const bool whole = world_.random().Chance(500);
    world_.Count(whole ? Occurrence::kWholeAfterAll : Occurrence::kTornRecord);
    whole_ += whole;
    unheard |= whole;
  }
  if (kind == CrashKind::kPowerLoss && whole_ > safe_) {
    const size_t kept = world_.random().Below(whole_ - safe_ + 1);
    world_.Count(kept == 0 ? Occurrence::kUnsyncedLost : Occurrence::kUnsyncedSurvived);
    whole_ = safe_ + kept;
  }
  if (unheard && whole_ > 0) world_.Count(Occurrence::kWholeUnacknowledged);
  if (!syncs_) safe_ = whole_;
  tasks_.clear();
  unheard_.clear();
  running_ = false;
}

void DiskQueue::ForgetFirst(size_t records) {
  whole_ -= records;
  safe_ -= records;
}

void DiskQueue::EraseQueue() {
  CrashQueue(CrashKind::kKill);
  whole_ = safe_ = 0;
}

}  // namespace lockstep::sim
