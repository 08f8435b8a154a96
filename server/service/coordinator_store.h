// CoordinatorStore: the file in which the coordinator keeps what must outlive its process.
//
// One sealed file, `coordinator`, with a v1::CoordinatorState.
//
// Thread-safety: none. Everything blocks on the disk.
#ifndef LOCKSTEP_SERVER_SERVICE_COORDINATOR_STORE_H_
#define LOCKSTEP_SERVER_SERVICE_COORDINATOR_STORE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/types.pb.h"
#include "server/core/coordinator.h"
#include "server/storage/fail_point.h"
#include "server/storage/file_system.h"

namespace lockstep::service {

// A run as it is kept.
struct SavedRun {
  core::CoordinatorMemory memory;
  v1::OptimizerConfig optimizer;
  uint64_t block_elements = 0;
  std::optional<v1::RestoreSource> restore = {};  // what the run begins with
};

v1::RolledBack ToProto(const core::Rollback& rollback);

class CoordinatorStore {
 public:
  // `files` must outlive this. `folder` is made when something is saved.
  CoordinatorStore(storage::FileSystem* files, std::string folder, storage::FailPoint fail_point = nullptr);

  // Absent: nothing was saved yet. DATA_LOSS, naming the file: it is damaged.
  absl::StatusOr<std::optional<SavedRun>> Load() const;
  // Survives the death of the machine. RESOURCE_EXHAUSTED, UNAVAILABLE: the run that was saved before is still there.
  absl::Status Save(const SavedRun& run);

 private:
  std::string path() const { return folder_ + "/coordinator"; }

  storage::FileSystem* const files_;
  const std::string folder_;
  const storage::FailPoint fail_point_;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_COORDINATOR_STORE_H_
