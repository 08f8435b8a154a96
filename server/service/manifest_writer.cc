#include "server/service/manifest_writer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {

ManifestWriter::ManifestWriter(storage::FileSystem* files, std::string folder, ShardIndex own, uint32_t keep, Done done,
                               storage::FailPoint fail_point)
    : files_(files),
      folder_(std::move(folder)),
      own_(own),
      keep_(keep),
      done_(std::move(done)),
      fail_point_(std::move(fail_point)),
      thread_([this] { Run(); }) {}

void ManifestWriter::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void ManifestWriter::Write(storage::Manifest manifest) {
  Add([this, manifest = std::move(manifest)] { WriteNow(manifest); });
}

void ManifestWriter::RemoveOld(std::string run_id, Version newest) {
  Add([this, run_id = std::move(run_id), newest] { RemoveOldNow(run_id, newest); });
}

void ManifestWriter::Add(std::function<void()> task) {
  MutexLock lock(&mutex_);
  queue_.push_back(std::move(task));
}

void ManifestWriter::Run() {
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

void ManifestWriter::WriteNow(const storage::Manifest& manifest) {
  storage::Pass(fail_point_, "manifest.before-write");
  const absl::Status status = storage::WriteManifest(*files_, folder_, manifest);
  if (status.ok()) storage::Pass(fail_point_, "manifest.after-write");
  done_(manifest, status);
}

// Where not all files lie in this folder, those of the coordinator's own shard decide.
void ManifestWriter::RemoveOldNow(const std::string& run_id, Version newest) {
  storage::CheckpointScope scope{.run_id = run_id, .newest = newest};
  const absl::Status whole = storage::ReadManifest(*files_, folder_, newest, storage::CheckDepth::kHeads).status();
  if (!whole.ok()) scope.own = own_;
  const absl::Status status = storage::RemoveOldCheckpoints(*files_, folder_, keep_, scope);
  if (!status.ok()) spdlog::warn("cannot remove old checkpoints: {}", std::string(status.message()));
}

}  // namespace lockstep::service
