// What a shard's file of a checkpoint will look like, known before its first byte is written.
//
// Thread-safety: values.
#ifndef LOCKSTEP_SERVER_STORAGE_CHECKPOINT_PLAN_H_
#define LOCKSTEP_SERVER_STORAGE_CHECKPOINT_PLAN_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/ids.h"
#include "common/model.h"
#include "common/safetensors/tensor.h"
#include "server/storage/manifest.h"

namespace lockstep::storage::internal {

// Blocks of one tensor that follow one another on a shard.
struct BlockRun {
  uint32_t tensor = 0;  // index in the model
  int64_t first = 0;    // element
  int64_t elements = 0;
  uint32_t first_slot = 0;
  uint32_t slots = 0;
};

// The runs of `shard`, as long as they can be, ascending by slot.
std::vector<BlockRun> RunsOfShard(const BlockLayout& layout, ShardIndex shard);

class FilePlan {
 public:
  // INVALID_ARGUMENT: a tensor's name that the format does not allow, or more tensors than a header can list.
  static absl::StatusOr<FilePlan> Create(const CheckpointIdentity& identity, const ModelSpec& model,
                                         const BlockLayout& layout, ShardIndex shard);

  const std::vector<BlockRun>& runs() const { return runs_; }
  size_t sections() const { return sections_; }
  uint64_t file_bytes() const { return file_bytes_; }
  // Where the elements of a run in a section begin in the file.
  uint64_t offset(size_t run, size_t section) const { return parts_[run * sections_ + section].offset; }
  // As ChunkHasher gives them.
  void SetChecksums(size_t run, size_t section, std::string checksums);
  // The bytes before the elements. Their number does not depend on the checksums, which were set before for all parts.
  absl::StatusOr<std::string> Head() const;

 private:
  struct Part {
    std::string name;
    uint64_t offset = 0;
  };

  std::vector<BlockRun> runs_;
  size_t sections_ = 0;
  uint64_t file_bytes_ = 0;
  std::vector<Part> parts_;                        // by run and section
  std::vector<safetensors::TensorSpec> in_order_;  // as the file has them
  safetensors::Metadata metadata_;
};

// The metadata of a shard's file, without the checksums.
safetensors::Metadata FileMetadata(const CheckpointIdentity& identity, ShardIndex shard);

// Under which key the metadata has the checksums of a part.
std::string ChecksumsKey(const std::string& part);

// XXH3-128 of a file's head.
std::string HeadChecksum(const std::string& head);

}  // namespace lockstep::storage::internal

#endif  // LOCKSTEP_SERVER_STORAGE_CHECKPOINT_PLAN_H_
