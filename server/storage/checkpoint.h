// Checkpoints: durable copies of one version of the whole model, optimizer state included, as safetensors files that
// NumPy and PyTorch open without our code.
//
//   FOLDER/version-0000000120/shard-0-of-2.safetensors     written by each shard: WriteShardCheckpoint
//                             shard-1-of-2.safetensors
//                             manifest.json                written last, by the coordinator: WriteManifest
//
// A checkpoint without a manifest does not exist.
//
// In a shard's file, the tensor NAME of the model is `parameters/NAME`, in its shape, when the whole tensor is on this
// shard; otherwise each run of blocks that follow one another is `parameters@FIRST/NAME`: the elements from FIRST on
// (row-major, one dimension). FIRST stands before NAME because a name may end in anything. The same under
// `optimizer/STATE/NAME` and `optimizer/STATE@FIRST/NAME` for each slot of the optimizer's state, by PyTorch's names
// (`momentum_buffer`; `exp_avg`, `exp_avg_sq`; `sum`). The metadata says run, version, shard, optimizer and more.
//
// Every byte is covered by an XXH3-128, and whoever reads a byte checks it before anybody uses it:
//
//   manifest.json: its own checksum ──> of each file: size and checksum of its head (length and header)
//                                         └──> in the header: of each tensor, the checksums of its chunks of 64 KiB
//
// So a file that is missing, swapped, cut or flipped is detected and named with the place, a shard that restores reads
// only the chunks that it needs, and a shard that writes needs every block only once: the elements are hashed as they
// come, and the head is written last.
//
// Restoring reads the elements that a shard needs from whichever files hold them: the number of shards and the size of
// blocks may differ.
//
// Thread-safety: functions have no state; everything blocks on the disk. Shards write their files of one version at the
// same time; nobody removes or reads that version meanwhile.
#ifndef LOCKSTEP_SERVER_STORAGE_CHECKPOINT_H_
#define LOCKSTEP_SERVER_STORAGE_CHECKPOINT_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/ids.h"
#include "common/model.h"
#include "server/compute/optimizer_options.h"
#include "server/storage/file_system.h"
#include "server/storage/manifest.h"  // IWYU pragma: export

namespace lockstep::storage {

// The elements of one block. `state`: by slot of the optimizer's state, as compute::StateSlotNames.
struct BlockContents {
  absl::Span<const float> parameters;
  std::vector<absl::Span<const float>> state;
};

// Gives the elements of a block; they must stay valid until the next call. An error ends the writing and is its result.
using ReadBlock = std::function<absl::Status(Slot, BlockContents&)>;
// Takes the elements of a block; they are gone when it returns. An error ends the restoring and is its result.
using StoreBlock = std::function<absl::Status(Slot, const BlockContents&)>;

// Writes this shard's file: temporary file, fsync, rename, fsync of the folders. Calls `read` once for each slot,
// ascending; keeps no copy of what it gives. The same contents give the same file. A file of the same version and shard
// is replaced, and a manifest that is there already then no longer fits it. What a death in the middle of an earlier
// call for this shard has left, of any version, goes first. INVALID_ARGUMENT: a tensor's name is not UTF-8, or the
// identity and the layout disagree. RESOURCE_EXHAUSTED (told before the first block is asked for), UNAVAILABLE, ...: as
// FileSystem; the temporary file is removed.
absl::StatusOr<CheckpointFile> WriteShardCheckpoint(FileSystem& files, const std::string& folder,
                                                    const CheckpointIdentity& identity, const ModelSpec& model,
                                                    const BlockLayout& layout, ShardIndex shard, const ReadBlock& read);

// Makes the checkpoint exist, when all its files do. INVALID_ARGUMENT: the manifest contradicts itself. Otherwise as
// ReplaceFile.
absl::Status WriteManifest(FileSystem& files, const std::string& folder, const Manifest& manifest);

// How much ReadManifest reads.
enum class CheckDepth {
  kHeads,     // the manifest, and size and head of every file: what is missing, swapped, cut or mixed is found
  kAllBytes,  // every byte of every file
};

// The checkpoint of a version, checked. NOT_FOUND: there is none. DATA_LOSS: damaged; the message names file and bytes,
// or what was expected and found. FAILED_PRECONDITION: of a format that this program does not read.
absl::StatusOr<Manifest> ReadManifest(FileSystem& files, const std::string& folder, Version version, CheckDepth depth);

// The same, of one shard's file alone, whatever became of the others': for folders that are not shared. The manifest
// that is returned lists all files. DATA_LOSS also: it lists none of `own`.
absl::StatusOr<Manifest> ReadOwnManifest(FileSystem& files, const std::string& folder, Version version, ShardIndex own,
                                         CheckDepth depth);

// Which checkpoints of a folder count.
struct CheckpointScope {
  std::string run_id = {};             // of this run; empty: of any
  std::optional<ShardIndex> own = {};  // whole is where this shard's file is; absent: where all are
  std::optional<Version> newest = {};  // later ones are left alone
  CheckDepth depth = CheckDepth::kHeads;
};

struct CheckpointsFound {
  std::vector<Manifest> whole;        // ascending by version
  std::vector<absl::Status> damaged;  // what is wrong with the others: files and places
};

// The checkpoints of `scope`. Errors of reading but for damage end it. None when there is no such folder.
absl::StatusOr<CheckpointsFound> FindCheckpoints(FileSystem& files, const std::string& folder,
                                                 const CheckpointScope& scope);

// Versions of which a manifest is there, whole or not, ascending. None when there is no such folder.
absl::StatusOr<std::vector<Version>> ListCheckpoints(FileSystem& files, const std::string& folder);

// Removes what is older than the newest `keep` (0 counts as 1) whole checkpoints of `scope`, and unfinished ones that
// are older than the newest whole one. When fewer than `keep` are, no checkpoint is removed. What another run has
// written stays. Errors of reading but for damage end it, and nothing is removed.
absl::Status RemoveOldCheckpoints(FileSystem& files, const std::string& folder, size_t keep,
                                  const CheckpointScope& scope = {});

// Removes one shard's file from all unfinished checkpoints older than `version`.
absl::Status RemoveUnfinishedFiles(FileSystem& files, const std::string& folder, Version version,
                                   const std::string& file);

// Removes every version but one, finished or not, and what is left of those that were begun. For a folder that is one
// shard's alone.
absl::Status RemoveVersionsBut(FileSystem& files, const std::string& folder, std::optional<Version> version);

// Removes what WriteShardCheckpoint leaves of this file, of any version, when it dies in the middle.
absl::Status RemoveTemporaryFiles(FileSystem& files, const std::string& folder, const std::string& file);

// Reads what `shard` of `layout` needs out of a checkpoint with any number of shards. Calls `store` once for each slot,
// ascending, with all its elements, which were all checked: `store` never sees a damaged byte. But when this fails in
// the middle, some slots were stored and others not. INVALID_ARGUMENT: the checkpoint's model or optimizer is another;
// the message names the first tensor that differs. DATA_LOSS: damaged; the message names file and bytes.
absl::Status RestoreShard(FileSystem& files, const std::string& folder, const Manifest& manifest,
                          const ModelSpec& model, const BlockLayout& layout, ShardIndex shard,
                          compute::OptimizerKind optimizer, const StoreBlock& store);

// The same from this shard's own file alone, the only one in `manifest.files`: for a shard that comes back to the
// layout with which it wrote it, whatever became of the others' files.
absl::Status RestoreOwnFile(FileSystem& files, const std::string& folder, const Manifest& manifest,
                            const BlockLayout& layout, ShardIndex shard, const StoreBlock& store);

// The head of such a file as RestoreFromPlain needs it, as far as that can be said without the model. DATA_LOSS:
// damaged or cut off. INVALID_ARGUMENT: a tensor that is not F32, by name. NOT_FOUND, ...: as FileSystem.
absl::Status CheckPlain(FileSystem& files, const std::string& path);

// Reads what `shard` needs out of any `.safetensors` file that has exactly the model's tensors as F32, to start a new
// run from them. `store` gets no state: it is all zeros. Such a file has no checksums, so that only damage to its
// structure is found. INVALID_ARGUMENT: it does not match; the message names the first tensor of the model that
// differs. DATA_LOSS: damaged. NOT_FOUND, ...: as FileSystem.
absl::Status RestoreFromPlain(FileSystem& files, const std::string& path, const ModelSpec& model,
                              const BlockLayout& layout, ShardIndex shard, const StoreBlock& store);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_CHECKPOINT_H_
