#include "server/service/checkpointer.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {
namespace {

// Over how many rounds the parameters are written, and each array of the optimizer's state again.
constexpr int64_t kRoundsPerCopy = 6;
// But so much with each round at least: less is not felt.
constexpr int64_t kLeastShare = 1 << 20;

}  // namespace

Checkpointer::Checkpointer(storage::FileSystem* files, ShardFolders folders, Events* events,
                           storage::FailPoint fail_point)
    : files_(files), folders_(std::move(folders)), events_(events), fail_point_(std::move(fail_point)), thread_([this] {
        RunTasks();
      }) {}

void Checkpointer::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

bool Checkpointer::idle() const {
  MutexLock lock(&mutex_);
  return !writing_ && !stopping_;
}

void Checkpointer::OnRound() {
  MutexLock lock(&mutex_);
  pace_.OnRound(MonotonicNow());
}

bool Checkpointer::AwaitTurn(int64_t bytes) {
  MutexLock lock(&mutex_);
  const auto my_turn = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return pace_.has_allowance() || stopping_ || !tasks_.empty();
  };
  // A round that comes meanwhile puts off the end of the patience: look again.
  absl::Time now = MonotonicNow();
  for (; !my_turn() && now < pace_.free_at(); now = MonotonicNow()) {
    mutex_.AwaitWithTimeout(absl::Condition(&my_turn), pace_.free_at() - now);
  }
  pace_.OnWritten(bytes);
  return !stopping_;
}

void Checkpointer::Run(std::function<void()> task) {
  MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
}

void Checkpointer::Start(Request request) {
  auto shared = std::make_shared<std::optional<Request>>(std::move(request));
  MutexLock lock(&mutex_);
  if (std::exchange(writing_, true)) return;
  tasks_.push_back([this, shared] {
    WriteNow(**shared);
    shared->reset();  // lets go of the blocks
  });
}

void Checkpointer::Keep(Version version, std::string manifest, ShardIndex own, uint32_t keep) {
  Run([this, version, manifest = std::move(manifest), own, keep] { KeepNow(version, manifest, own, keep); });
}

void Checkpointer::RunTasks() {
  pthread_setname_np(pthread_self(), "checkpoints");  // for `top -H` and the like
  constexpr int kNice = 10;                           // rounds come first
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !tasks_.empty(); };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

void Checkpointer::WriteNow(const Request& request) {
  {
    MutexLock lock(&mutex_);
    const auto parameter_bytes = static_cast<int64_t>(request.model->store.parameter_bytes());
    pace_.Begin(request.compacts ? std::numeric_limits<int64_t>::max()
                                 : std::max(kLeastShare, parameter_bytes / kRoundsPerCopy));
  }
  const Version version = request.identity.version;
  const absl::StatusOr<ShardBase> base = Write(request);
  {
    MutexLock lock(&mutex_);
    writing_ = false;
  }
  if (base.ok()) return events_->OnBaseWritten(*base);
  if (absl::IsCancelled(base.status())) return;
  spdlog::error("{} is given up; {}",
                request.compacts ? absl::StrCat("compacting the journal up to version ", version.value())
                                 : absl::StrCat("the checkpoint of version ", version.value()),
                std::string(base.status().message()));
  if (!request.compacts) events_->OnCheckpointFailed(version, base.status());
}

void Checkpointer::KeepNow(Version version, const std::string& manifest, ShardIndex own, uint32_t keep) {
  const absl::StatusOr<storage::Manifest> decoded = storage::DecodeManifest("the coordinator's manifest", manifest);
  absl::Status status = decoded.status();
  if (status.ok()) {
    const absl::StatusOr<storage::Manifest> there =
        storage::ReadOwnManifest(*files_, folders_.checkpoints(), version, own, storage::CheckDepth::kHeads);
    if (there.ok() && *there == *decoded) return;  // the coordinator looks after this folder
    status = storage::WriteManifest(*files_, folders_.checkpoints(), *decoded);
  }
  if (status.ok()) {
    status = storage::RemoveOldCheckpoints(*files_, folders_.checkpoints(), keep,
                                           {.run_id = decoded->identity.run_id, .own = own, .newest = version});
  }
  if (!status.ok())
    spdlog::warn("cannot keep the manifest of version {}: {}", version.value(), std::string(status.message()));
}

absl::StatusOr<ShardBase> Checkpointer::Write(const Request& request) {
  const ShardModel& model = *request.model;
  const auto pass = [&](absl::string_view step) {
    storage::Pass(fail_point_, absl::StrCat(request.compacts ? "compaction." : "checkpoint.", step));
  };
  pass("before-write");
  absl::StatusOr<ShardBase> base =
      WriteShardPart(*files_, request.compacts ? folders_.compacted() : folders_.checkpoints(), request.identity, model,
                     request.blocks, [this](int64_t bytes) { return AwaitTurn(bytes); });
  if (!base.ok()) return base.status();
  base->compacted = request.compacts;
  pass("after-write");
  const absl::StatusOr<std::optional<ShardBase>> before = LoadShardBase(*files_, folders_.data, model);
  if (absl::Status status = SaveShardBase(*files_, folders_.data, *base); !status.ok()) return status;
  pass("after-base");
  if (before.ok()) RemoveOld(*before, *base);
  return base;
}

// Parts of checkpoints with a manifest are the coordinator's. It finishes a version after all shards have written their
// parts, and may still be at it: the part that was the base until now stays, and all of them when the journal was or is
// compacted.
void Checkpointer::RemoveOld(const std::optional<ShardBase>& before, const ShardBase& base) {
  RemoveCompactedBut(*files_, folders_, base);
  if (!before || before->compacted || base.compacted) return;
  const absl::Status status =
      storage::RemoveUnfinishedFiles(*files_, folders_.checkpoints(), before->identity.version, base.file.name);
  if (!status.ok()) spdlog::warn("cannot remove old checkpoints: {}", std::string(status.message()));
}

}  // namespace lockstep::service
