// The model's shape as all parties agree on it, and how it is cut into blocks.
//
//   ModelSpec:   tensors in order (name, shape, dtype)
//   BlockLayout: every tensor is cut into runs of at most `block_elements` elements; a block never spans two tensors.
//                Block i goes to the shard that holds the fewest elements so far (the lowest index among equals), so
//                that shards are balanced and the layout is a pure function of (model, block size, shards).
//
// Where a block lies never changes its bits: reduction and optimizers work per element.
//
// Thread-safety: values; const use from any thread.
#ifndef LOCKSTEP_COMMON_MODEL_H_
#define LOCKSTEP_COMMON_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/ids.h"

namespace lockstep {

// Element types of parameters and gradients.
enum class DType { kF32 };

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;  // row-major; empty: a scalar
  DType dtype = DType::kF32;

  // Number of elements: the product of `shape`.
  int64_t elements() const;
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

struct ModelSpec {
  std::vector<TensorSpec> tensors;

  // Number of elements of all tensors.
  int64_t elements() const;
  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

// "weight float32[10, 784]".
std::string ToString(const TensorSpec& tensor);

// INVALID_ARGUMENT, naming the tensor: no tensors, an empty or repeated name, a dimension that is not positive, more
// than 2^40 elements.
absl::Status Validate(const ModelSpec& model);

// INVALID_ARGUMENT that names the first tensor in which `actual` differs from `expected`, and how; OK when they are
// equal.
absl::Status CheckSameModel(const ModelSpec& expected, const ModelSpec& actual);

// A run of elements of one tensor.
struct Block {
  uint32_t tensor;   // index in ModelSpec::tensors
  int64_t offset;    // first element within the tensor
  int64_t elements;  // at least 1
  ShardIndex shard;  // the shard that holds it
  Slot slot;         // its index among that shard's blocks

  size_t bytes() const { return static_cast<size_t>(elements) * sizeof(float); }
};

class BlockLayout {
 public:
  // `model` is valid, shards >= 1, block_elements >= 1. INVALID_ARGUMENT: otherwise, or more than 2^31 blocks.
  static absl::StatusOr<BlockLayout> Create(const ModelSpec& model, uint32_t shards, int64_t block_elements);

  uint32_t shards() const { return static_cast<uint32_t>(of_shard_.size()); }
  const std::vector<Block>& blocks() const { return blocks_; }
  // `index` is less than blocks().size().
  const Block& block(BlockIndex index) const { return blocks_[index.value()]; }
  // The blocks of one shard, ascending.
  const std::vector<BlockIndex>& of_shard(ShardIndex shard) const { return of_shard_[shard.value()]; }
  int64_t elements_of_shard(ShardIndex shard) const;

 private:
  std::vector<Block> blocks_;
  std::vector<std::vector<BlockIndex>> of_shard_;
};

// The block size for a model when nothing is said: large enough that per-message costs vanish, small enough that a
// shard has several blocks to overlap push and pull with.
int64_t DefaultBlockElements(int64_t model_elements, uint32_t shards);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MODEL_H_
