// ManifestWriter: makes checkpoints of the run exist: writes the manifest when every shard's file is durable; and
// removes, when told, what is older than those that stay. On a thread of its own: a slow folder holds up nobody.
//
// Thread-safety: all of it.
#ifndef LOCKSTEP_SERVER_SERVICE_MANIFEST_WRITER_H_
#define LOCKSTEP_SERVER_SERVICE_MANIFEST_WRITER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "server/storage/checkpoint.h"
#include "server/storage/fail_point.h"
#include "server/storage/file_system.h"

namespace lockstep::service {

class ManifestWriter {
 public:
  // Called on the writer's thread, without any lock.
  using Done = std::function<void(const storage::Manifest& manifest, const absl::Status& status)>;

  // `files` must outlive this. `folder`: of checkpoints, as the coordinator's process sees it; `keep` of this run stay.
  ManifestWriter(storage::FileSystem* files, std::string folder, ShardIndex own, uint32_t keep, Done done,
                 storage::FailPoint fail_point = nullptr);
  ~ManifestWriter() { Stop(); }
  // What is queued and has not begun is dropped; waits for what is under way. Again: does nothing.
  void Stop();

  const std::string& folder() const { return folder_; }
  uint32_t keep() const { return keep_; }
  // Does not block.
  void Write(storage::Manifest manifest);
  // Removes what is older than the newest `keep` checkpoints of that run, up to `newest`. Does not block.
  void RemoveOld(std::string run_id, Version newest);

 private:
  void Add(std::function<void()> task);
  void Run();
  void WriteNow(const storage::Manifest& manifest);
  void RemoveOldNow(const std::string& run_id, Version newest);

  storage::FileSystem* const files_;
  const std::string folder_;
  const ShardIndex own_;
  const uint32_t keep_;
  const Done done_;
  const storage::FailPoint fail_point_;
  Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_MANIFEST_WRITER_H_
