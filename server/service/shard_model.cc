#include "server/service/shard_model.h"

#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/convert.h"
#include "server/service/optimizer_config.h"

namespace lockstep::service {

uint64_t MemoryBytes() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

absl::Status CheckFits(int64_t elements, compute::OptimizerKind kind, uint64_t machine_bytes) {
  const int state = compute::StateSlots(kind);
  const int copies = 2 + state + (state > 0 ? 1 : 0);
  const double gigabytes = static_cast<double>(elements) * sizeof(float) / 1e9;
  const double machine = static_cast<double>(machine_bytes) / 1e9;
  if (copies * gigabytes <= machine) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the model does not fit: %.1f GB of parameters x %d (2 versions, %d of optimizer state, %d of "
                      "gradient) = %.1f GB, but this machine has %.1f GB; use more shards",
                      gigabytes, copies, state, state > 0 ? 1 : 0, copies * gigabytes, machine));
}

absl::StatusOr<std::unique_ptr<ShardModel>> ShardModel::Create(const v1::RunDescription& run, ShardIndex shard,
                                                               uint64_t machine_bytes) {
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
  if (absl::Status status = CheckFits(layout->elements_of_shard(shard), optimization->optimizer.kind, machine_bytes);
      !status.ok()) {
    return status;
  }
  std::vector<int64_t> elements;
  for (BlockIndex block : layout->of_shard(shard)) elements.push_back(layout->block(block).elements);
  storage::BlockStore store(std::move(elements), optimization->optimizer, optimization->schedule);
  return std::unique_ptr<ShardModel>(new ShardModel{.shard = shard,
                                                    .spec = *model,
                                                    .optimizer = optimization->optimizer.kind,
                                                    .checkpoint_rounds = run.checkpoint_rounds(),
                                                    .ranks = run.workers(),
                                                    .layout = *std::move(layout),
                                                    .store = std::move(store)});
}

}  // namespace lockstep::service
