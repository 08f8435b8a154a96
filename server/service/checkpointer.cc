#include "server/service/checkpointer.h"

#include <sys/resource.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {

Checkpointer::Checkpointer(storage::FileSystem* files, std::string data_folder, std::string folder, Events* events,
                           storage::FailPoint fail_point)
    : files_(files),
      data_folder_(std::move(data_folder)),
      folder_(std::move(folder)),
      events_(events),
      fail_point_(std::move(fail_point)),
      thread_([this] { Run(); }) {}

void Checkpointer::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

bool Checkpointer::idle() const {
  MutexLock lock(&mutex_);
  return !busy_ && !request_ && !stopping_;
}

bool Checkpointer::stopping() const {
  MutexLock lock(&mutex_);
  return stopping_;
}

void Checkpointer::Start(Request request) {
  MutexLock lock(&mutex_);
  if (!busy_ && !request_) request_ = std::move(request);
}

Checkpointer::State Checkpointer::state() const {
  MutexLock lock(&mutex_);
  return state_;
}

void Checkpointer::Run() {
  constexpr int kNice = 10;  // rounds come first
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  while (true) {
    std::optional<Request> request;
    {
      MutexLock lock(&mutex_);
      busy_ = false;
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || request_.has_value(); };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) return;
      request = std::exchange(request_, std::nullopt);
      busy_ = true;
    }
    const absl::Time start = MonotonicNow();
    const Version version = request->identity.version;
    const absl::StatusOr<ShardBase> base = Write(*request);
    request.reset();  // lets go of the blocks
    {
      MutexLock lock(&mutex_);
      state_.trouble = base.status();
      if (base.ok()) {
        state_.newest = version;
        state_.took = MonotonicNow() - start;
      }
    }
    if (base.ok()) {
      events_->OnCheckpointWritten(*base);
    } else if (!absl::IsCancelled(base.status())) {
      spdlog::error("the checkpoint of version {} is given up; the journal goes on: {}", version.value(),
                    std::string(base.status().message()));
    }
  }
}

absl::StatusOr<ShardBase> Checkpointer::Write(const Request& request) {
  const ShardModel& model = *request.model;
  std::vector<std::vector<float>> state;
  const auto read = [&](Slot slot, storage::BlockContents& contents) {
    if (stopping()) return absl::CancelledError("the process ends");
    const storage::BlockSnapshot& block = request.blocks[slot.value()];
    block.WriteState(state);
    contents.parameters = block.parameters();
    contents.state.assign(state.begin(), state.end());
    return absl::OkStatus();
  };
  storage::Pass(fail_point_, "checkpoint.before-write");
  absl::StatusOr<storage::CheckpointFile> file =
      storage::WriteShardCheckpoint(*files_, folder_, request.identity, model.spec, model.layout, model.shard, read);
  if (!file.ok()) return file.status();
  storage::Pass(fail_point_, "checkpoint.after-write");
  ShardBase base{.identity = request.identity, .file = *std::move(file)};
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
