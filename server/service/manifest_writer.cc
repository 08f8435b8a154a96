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
  MutexLock lock(&mutex_);
  queue_.push_back(std::move(manifest));
}

void ManifestWriter::Run() {
  while (true) {
    storage::Manifest manifest;
    {
      MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) return;
      manifest = std::move(queue_.front());
      queue_.pop_front();
    }
    storage::Pass(fail_point_, "manifest.before-write");
    const absl::Status status = storage::WriteManifest(*files_, folder_, manifest);
    if (status.ok()) storage::Pass(fail_point_, "manifest.after-write");
    done_(manifest, status);
    if (status.ok()) RemoveOld(manifest);
  }
}

// Where not all files lie in this folder, those of the coordinator's own shard decide.
void ManifestWriter::RemoveOld(const storage::Manifest& manifest) {
  const Version version = manifest.identity.version;
  storage::CheckpointScope scope{.run_id = manifest.identity.run_id, .newest = version};
  const absl::Status whole = storage::ReadManifest(*files_, folder_, version, storage::CheckDepth::kHeads).status();
  if (!whole.ok()) scope.own = own_;
  const absl::Status status = storage::RemoveOldCheckpoints(*files_, folder_, keep_, scope);
  if (!status.ok()) spdlog::warn("cannot remove old checkpoints: {}", std::string(status.message()));
}

}  // namespace lockstep::service
