// Restore: a shard takes a version from files, in place of what it has: of this run, when it is rolled back, or of any
// run, when this one begins with it. And, for the coordinator, which files somebody means.
//
// Thread-safety: functions. Everything blocks on the disk.
#ifndef LOCKSTEP_SERVER_SERVICE_RESTORE_H_
#define LOCKSTEP_SERVER_SERVICE_RESTORE_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model.h"
#include "proto/types.pb.h"
#include "server/compute/optimizer_options.h"
#include "server/service/recovery.h"
#include "server/service/shard_base.h"
#include "server/service/shard_model.h"
#include "server/storage/checkpoint.h"
#include "server/storage/file_system.h"

namespace lockstep::service {

// How a shard's blocks are reached while they are restored.
struct BlockAccess {
  // Gives a block its new contents; `state` has an array for each of the optimizer's slots.
  std::function<void(Slot, const storage::BlockContents&)> store;
  // All blocks as they are now, by slot.
  std::function<std::vector<storage::BlockSnapshot>()> snapshot;
};

// Fills all blocks from `source`, and makes that the shard's base. What does not come from this shard's own file is
// written as such a file first, so that the source is not needed any more. INVALID_ARGUMENT: another model or
// optimizer, and what differs. DATA_LOSS: damaged, with file and place. After an error the blocks are undefined.
absl::StatusOr<ShardBase> Restore(storage::FileSystem& files, const ShardFolders& folders, const std::string& run_id,
                                  const v1::RestoreSource& source, const ShardModel& model, const BlockAccess& blocks);

// What a run begins with.
struct Beginning {
  v1::RestoreSource source;  // its path is absolute
  // Unknown of a plain file until shards read it.
  std::optional<ModelSpec> model;
  std::optional<compute::OptimizerKind> optimizer;
  std::vector<std::string> damaged;  // newer checkpoints that cannot be used, and why
};

// `path`: a .safetensors file; the folder of one checkpoint; a folder of checkpoints, of which the newest whole one is
// meant; or "latest": the same in `checkpoints`. Every byte of a checkpoint is checked, and a file's head.
// INVALID_ARGUMENT: there is nothing like that, or a tensor is not F32. DATA_LOSS: the one that is meant, or all, are
// damaged.
absl::StatusOr<Beginning> FindBeginning(storage::FileSystem& files, const std::string& path,
                                        const std::string& checkpoints);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_RESTORE_H_
