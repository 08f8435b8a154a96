#include "server/service/shard_model.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/convert.h"
#include "server/service/optimizer_config.h"
#include "server/service/round_policy_config.h"

namespace lockstep::service {

namespace {

MemoryNeeds NeedsOf(const v1::RunDescription& run, const BlockLayout& layout, ShardIndex shard,
                    compute::OptimizerKind kind, bool durable) {
  MemoryNeeds needs{.parameter_bytes = static_cast<uint64_t>(layout.elements_of_shard(shard)) * sizeof(float),
                    .state_slots = static_cast<uint32_t>(compute::StateSlots(kind)),
                    .workers = run.workers(),
                    .connections = std::max(run.connections(), 1u),
                    .credit_bytes = run.credit_bytes() > 0 ? run.credit_bytes() : kUnlimited,
                    .checkpoints = durable};
  for (BlockIndex block : layout.of_shard(shard)) {
    needs.largest_block_bytes = std::max<uint64_t>(needs.largest_block_bytes, layout.block(block).bytes());
  }
  return needs;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShardModel>> ShardModel::Create(const v1::RunDescription& run, ShardIndex shard,
                                                               uint64_t machine_bytes, bool durable) {
  if (shard.value() >= run.shards()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the run has %d shards, but this is shard %d", run.shards(), shard.value()));
  }
  const absl::StatusOr<ModelSpec> model = lockstep::FromProto(run.model());
  if (!model.ok()) return model.status();
  const absl::StatusOr<Optimization> optimization = FromProto(run.optimizer());
  if (!optimization.ok()) return optimization.status();
  absl::StatusOr<BlockLayout> layout =
      BlockLayout::Create(*model, run.shards(), static_cast<int64_t>(run.block_elements()));
  if (!layout.ok()) return layout.status();
  const MemoryNeeds needs = NeedsOf(run, *layout, shard, optimization->optimizer.kind, durable);
  const MemoryBound bound = BoundOf(needs);
  if (absl::Status status = CheckFits(bound, machine_bytes); !status.ok()) return status;
  std::vector<int64_t> elements;
  for (BlockIndex block : layout->of_shard(shard)) elements.push_back(layout->block(block).elements);
  storage::BlockStore store(std::move(elements), optimization->optimizer, optimization->schedule);
  return std::unique_ptr<ShardModel>(new ShardModel{.shard = shard,
                                                    .spec = *model,
                                                    .optimizer = optimization->optimizer.kind,
                                                    .ranks = run.workers(),
                                                    .layout = *std::move(layout),
                                                    .memory = bound,
                                                    .credit_of_worker = CreditOfWorker(needs),
                                                    .store = std::move(store)});
}

}  // namespace lockstep::service
