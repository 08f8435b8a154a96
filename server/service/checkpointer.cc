#include "server/service/checkpointer.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {
namespace {

// Over how many rounds the parameters are written, and each array of the optimizer's state again.
constexpr int64_t kRoundsPerCopy = 4;
// But so much with each round at least: less is not felt.
constexpr int64_t kLeastShare = 1 << 20;

}  // namespace

Checkpointer::Checkpointer(storage::FileSystem* files, std::string data_folder, std::string folder, Events* events,
                           storage::FailPoint fail_point)
    : files_(files),
      data_folder_(std::move(data_folder)),
      folder_(std::move(folder)),
      events_(events),
      fail_point_(std::move(fail_point)),
      thread_([this] { RunTasks(); }) {}

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

Checkpointer::State Checkpointer::state() const {
  MutexLock lock(&mutex_);
  return state_;
}

void Checkpointer::RunTasks() {
  constexpr int kNice = 10;  // rounds come first
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
  const absl::Time start = MonotonicNow();
  {
    MutexLock lock(&mutex_);
    pace_.Begin(std::max(kLeastShare, static_cast<int64_t>(request.model->store.parameter_bytes()) / kRoundsPerCopy));
  }
  const Version version = request.identity.version;
  const absl::StatusOr<ShardBase> base = Write(request);
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    state_.trouble = base.status();
    if (base.ok()) {
      state_.newest = version;
      state_.took = MonotonicNow() - start;
    }
  }
  if (base.ok()) return events_->OnCheckpointWritten(*base);
  if (absl::IsCancelled(base.status())) return;
  spdlog::error("the checkpoint of version {} is given up; {}", version.value(), std::string(base.status().message()));
  events_->OnCheckpointFailed(version, base.status());
}

void Checkpointer::KeepNow(Version version, const std::string& manifest, ShardIndex own, uint32_t keep) {
  const absl::StatusOr<storage::Manifest> decoded = storage::DecodeManifest("the coordinator's manifest", manifest);
  absl::Status status = decoded.status();
  if (status.ok()) {
    const absl::StatusOr<storage::Manifest> there =
        storage::ReadOwnManifest(*files_, folder_, version, own, storage::CheckDepth::kHeads);
    if (there.ok() && *there == *decoded) return;  // the coordinator looks after this folder
    status = storage::WriteManifest(*files_, folder_, *decoded);
  }
  if (status.ok()) {
    status = storage::RemoveOldCheckpoints(*files_, folder_, keep,
                                           {.run_id = decoded->identity.run_id, .own = own, .newest = version});
  }
  if (!status.ok())
    spdlog::warn("cannot keep the manifest of version {}: {}", version.value(), std::string(status.message()));
}

absl::StatusOr<ShardBase> Checkpointer::Write(const Request& request) {
  const ShardModel& model = *request.model;
  storage::Pass(fail_point_, "checkpoint.before-write");
  absl::StatusOr<ShardBase> written = WriteShardPart(*files_, folder_, request.identity, model, request.blocks,
                                                     [this](int64_t bytes) { return AwaitTurn(bytes); });
  if (!written.ok()) return written.status();
  storage::Pass(fail_point_, "checkpoint.after-write");
  const ShardBase& base = *written;
  const absl::StatusOr<std::optional<ShardBase>> before = LoadShardBase(*files_, data_folder_, model);
  if (absl::Status status = SaveShardBase(*files_, data_folder_, base); !status.ok()) return status;
  storage::Pass(fail_point_, "checkpoint.after-base");
  if (before.ok() && *before) RemoveBefore(**before);
  return base;
}

// The checkpoint before the one that was the base until now: two are kept. (Those with a manifest are the
// coordinator's.)
void Checkpointer::RemoveBefore(const ShardBase& base) {
  const absl::Status status = storage::RemoveUnfinishedFiles(*files_, folder_, base.identity.version, base.file.name);
  if (!status.ok()) spdlog::warn("cannot remove old checkpoints: {}", std::string(status.message()));
}

}  // namespace lockstep::service
