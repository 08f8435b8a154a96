// ShardBase: the version from which a shard's journal goes on. A sealed file `base` in the shard's own folder names it,
// and is replaced when the shard has written a newer one: its part of a checkpoint; or, of its own accord, what a long
// journal amounts to. That has the same form, but is no part of anything: no other shard has the like.
//
// Thread-safety: functions have no state; everything blocks on the disk.
#ifndef LOCKSTEP_SERVER_SERVICE_SHARD_BASE_H_
#define LOCKSTEP_SERVER_SERVICE_SHARD_BASE_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/types.pb.h"
#include "server/service/shard_model.h"
#include "server/storage/checkpoint.h"
#include "server/storage/file_system.h"

namespace lockstep::service {

struct ShardBase {
  storage::CheckpointIdentity identity;
  storage::CheckpointFile file;
  bool compacted = false;  // of no checkpoint: made of the journal alone
};

// Where a shard keeps what must outlive it.
struct ShardFolders {
  std::string data;               // this shard's own
  std::string checkpoint_folder;  // may be shared by all shards; empty: within `data`

  std::string journal() const { return data + "/journal"; }
  std::string checkpoints() const { return checkpoint_folder.empty() ? data + "/checkpoints" : checkpoint_folder; }
  std::string compacted() const { return data + "/compacted"; }
  // The one that the base's file is in.
  std::string of(const ShardBase& base) const { return base.compacted ? compacted() : checkpoints(); }
};

v1::CheckpointPart ToProto(const ShardBase& base);

// Survives the death of the machine. Errors as FileSystem: then the older base is still there.
absl::Status SaveShardBase(storage::FileSystem& files, const std::string& data_folder, const ShardBase& base);

// Absent: there is none. DATA_LOSS: it is damaged. What the file does not say comes from `model`.
absl::StatusOr<std::optional<ShardBase>> LoadShardBase(storage::FileSystem& files, const std::string& data_folder,
                                                       const ShardModel& model);

// Removes all that lies in `folders.compacted()` and is not the base's, which is saved. What cannot be removed is
// logged.
void RemoveCompactedBut(storage::FileSystem& files, const ShardFolders& folders, const ShardBase& base);

// Fills the model's blocks from the base's file in `folder`. DATA_LOSS: it is missing or damaged, with file and place.
absl::Status RestoreFromBase(storage::FileSystem& files, const std::string& folder, const ShardBase& base,
                             ShardModel& model);

// Writes this shard's file of a checkpoint. `blocks` by slot. `await_turn` (may be null) is called before each block
// with its bytes, state included, and may block; if it returns false this gives up with CANCELLED. Otherwise as
// storage::WriteShardCheckpoint.
absl::StatusOr<ShardBase> WriteShardPart(storage::FileSystem& files, const std::string& folder,
                                         const storage::CheckpointIdentity& identity, const ShardModel& model,
                                         const std::vector<storage::BlockSnapshot>& blocks,
                                         const std::function<bool(int64_t)>& await_turn = nullptr);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_SHARD_BASE_H_
