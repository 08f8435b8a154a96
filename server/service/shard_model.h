// ShardModel: what a shard's first Install fixes for the rest of its life: the layout of the model, and the memory for
// the shard's part of it.
//
// Thread-safety: `layout` and `ranks` are constant; `store` as storage::BlockStore says.
#ifndef LOCKSTEP_SERVER_SERVICE_SHARD_MODEL_H_
#define LOCKSTEP_SERVER_SERVICE_SHARD_MODEL_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/ids.h"
#include "common/model.h"
#include "proto/types.pb.h"
#include "server/compute/optimizer.h"
#include "server/compute/reduce.h"
#include "server/service/memory_bound.h"
#include "server/storage/block_store.h"

namespace lockstep::service {

struct ShardModel {
  // Makes the memory. INVALID_ARGUMENT: no such model, optimizer, layout or shard. RESOURCE_EXHAUSTED: it may come to
  // need more than `machine_bytes`. `durable`: checkpoints are written if the run has any.
  static absl::StatusOr<std::unique_ptr<ShardModel>> Create(const v1::RunDescription& run, ShardIndex shard,
                                                            uint64_t machine_bytes, bool durable = true);

  // Of the model, by the slot that it has on this shard.
  BlockIndex block(Slot slot) const { return layout.of_shard(shard)[slot.value()]; }
  uint32_t groups() const { return (ranks + compute::kRadix - 1) / compute::kRadix; }

  const ShardIndex shard;
  const ModelSpec spec;
  const compute::OptimizerKind optimizer;
  const uint32_t ranks;  // of the run: ranks are below this
  const BlockLayout layout;
  const MemoryBound memory;
  const uint64_t credit_of_worker;  // bytes of its contribution that are kept at most
  storage::BlockStore store;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_SHARD_MODEL_H_
