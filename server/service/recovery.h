// Recovery: a shard that comes back makes its memory again from its disk: its base (shard_base.h), then the journal's
// rounds after it, one after the other, with the very operations that made them.
//
// Thread-safety: functions. Blocks on the disk.
#ifndef LOCKSTEP_SERVER_SERVICE_RECOVERY_H_
#define LOCKSTEP_SERVER_SERVICE_RECOVERY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/ids.h"
#include "proto/types.pb.h"
#include "server/core/shard.h"
#include "server/service/shard_base.h"
#include "server/service/shard_model.h"
#include "server/storage/file_system.h"
#include "server/storage/journal.h"

namespace lockstep::service {

// A shard as it was when it last said something about itself, or later.
struct RecoveredShard {
  std::string run_id;
  std::unique_ptr<ShardModel> model;
  core::ShardMemory memory;
  std::optional<ShardBase> base;              // the file that it began with
  uint64_t replayed = 0;                      // rounds of the journal that were replayed on top
  std::unique_ptr<storage::Journal> journal;  // goes on after the last record
};

// Absent: there is no journal. DATA_LOSS, with file and offset: it is damaged. INVALID_ARGUMENT: it is of
// another shard. RESOURCE_EXHAUSTED: the model does not fit into `machine_bytes`.
absl::StatusOr<std::optional<RecoveredShard>> RecoverShard(storage::FileSystem& files, const ShardFolders& folders,
                                                           ShardIndex shard, const storage::JournalOptions& options,
                                                           uint64_t machine_bytes);

// What the journal of such a shard says about itself.
storage::JournalIdentity IdentityOf(const std::string& run_id, const v1::RunDescription& run, const ShardModel& model);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_RECOVERY_H_
