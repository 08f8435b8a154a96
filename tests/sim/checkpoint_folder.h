// The folder of checkpoints that all shards of a simulated run share; it outlives processes and disks.
//
//   PutPart (each shard) -> WriteManifest (the coordinator, last): the checkpoint exists
//
// As server/storage does it: a checkpoint is whole if it has a manifest, and each file is the one that the manifest
// means; a file that is written again with other contents takes the checkpoint away.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_CHECKPOINT_FOLDER_H_
#define LOCKSTEP_TESTS_SIM_CHECKPOINT_FOLDER_H_

#include <map>
#include <optional>
#include <vector>

#include "common/ids.h"
#include "server/core/checkpoints.h"
#include "server/core/resume.h"
#include "server/core/shard.h"
#include "tests/sim/block_store.h"

namespace lockstep::sim {

// A shard's file of a version.
struct CheckpointFile {
  core::CheckpointPart part;  // `head_xxh3_128` depends on all contents
  std::vector<BlockStore::Contents> blocks;
};

// From which file a shard's journal goes on; on the shard's own disk.
struct ShardBase {
  core::CheckpointPart part;
  std::shared_ptr<const CheckpointFile> compacted = nullptr;  // the file, if it is of no checkpoint
  bool restored = false;                                      // and the journal has not begun anew from it yet
};

// The file of these blocks.
CheckpointFile MakeFile(Version version, Generation completed_in, std::vector<Rank> participants,
                        std::vector<BlockStore::Contents> blocks);

class CheckpointFolder {
 public:
  explicit CheckpointFolder(uint32_t shards) : shards_(shards) {}

  void PutPart(ShardIndex shard, CheckpointFile file);
  // The shard's file of that version, finished or not; null: there is none.
  const CheckpointFile* Find(ShardIndex shard, Version version) const;
  // Makes the checkpoint of these parts exist; by shard.
  void WriteManifest(const std::vector<core::CheckpointPart>& parts);
  bool HasManifest(Version version) const;
  bool IsWhole(Version version) const;
  // Whole checkpoints, ascending. `manifests`: false, for a planted bug: also where only this shard's file is there.
  std::vector<core::RestorableVersion> Restorable(ShardIndex shard, bool manifests = true) const;
  // Removes whole checkpoints older than the newest `keep` up to `newest`, and unfinished ones older than the newest
  // whole one of them. How many whole ones.
  size_t RemoveOld(uint32_t keep, Version newest);
  // Removes the shard's file from unfinished checkpoints older than `version`.
  void RemoveUnfinished(ShardIndex shard, Version version);

 private:
  struct Folder {
    std::map<ShardIndex, CheckpointFile> files;
    std::vector<core::CheckpointPart> manifest;  // by shard; empty: there is none
  };
  bool IsWhole(const Folder& folder) const;

  const uint32_t shards_;
  std::map<Version, Folder> versions_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_CHECKPOINT_FOLDER_H_
