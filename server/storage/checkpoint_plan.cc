#include "server/storage/checkpoint_plan.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/safetensors/fingerprint.h"
#include "common/safetensors/format.h"
#include "common/safetensors/header_writer.h"
#include "server/storage/checkpoint_chunks.h"
#include "server/storage/checkpoint_names.h"

namespace lockstep::storage::internal {
namespace {

bool Continues(const BlockRun& run, const Block& block) {
  return run.tensor == block.tensor && run.first + run.elements == block.offset;
}

// The name and shape of the part of `tensor` that `run` is.
safetensors::TensorSpec SpecOf(const BlockRun& run, const TensorSpec& tensor, size_t section,
                               const std::vector<std::string>& sections) {
  PartName name{.section = section, .tensor = tensor.name, .first = run.first};
  if (run.elements != tensor.elements()) return {ToString(name, sections), {run.elements}};
  name.first.reset();
  return {ToString(name, sections), tensor.shape};
}

}  // namespace

std::vector<BlockRun> RunsOfShard(const BlockLayout& layout, ShardIndex shard) {
  std::vector<BlockRun> runs;
  for (BlockIndex index : layout.of_shard(shard)) {
    const Block& block = layout.block(index);
    if (runs.empty() || !Continues(runs.back(), block)) {
      runs.push_back({.tensor = block.tensor, .first = block.offset, .first_slot = block.slot.value()});
    }
    runs.back().elements += block.elements;
    ++runs.back().slots;
  }
  return runs;
}

absl::StatusOr<FilePlan> FilePlan::Create(const CheckpointIdentity& identity, const ModelSpec& model,
                                          const BlockLayout& layout, ShardIndex shard) {
  const std::vector<std::string> sections = Sections(identity.optimizer);
  FilePlan plan;
  plan.runs_ = RunsOfShard(layout, shard);
  plan.sections_ = sections.size();
  plan.metadata_ = FileMetadata(identity, shard);
  std::map<std::string, size_t> part_of;  // by name, which is the order in the file
  for (const BlockRun& run : plan.runs_) {
    for (size_t section = 0; section < sections.size(); ++section) {
      safetensors::TensorSpec spec = SpecOf(run, model.tensors[run.tensor], section, sections);
      plan.metadata_[ChecksumsKey(spec.name)] = std::string(Chunks(run.elements) * kChecksumDigits, '0');
      part_of.emplace(spec.name, plan.parts_.size());
      plan.parts_.push_back({.name = spec.name});
      plan.in_order_.push_back(std::move(spec));
    }
  }
  std::sort(plan.in_order_.begin(), plan.in_order_.end(), safetensors::internal::NameLess<safetensors::TensorSpec>);
  absl::StatusOr<std::string> head = plan.Head();
  if (!head.ok()) return head.status();
  uint64_t offset = head->size();
  for (const safetensors::TensorSpec& spec : plan.in_order_) {
    plan.parts_[part_of[spec.name]].offset = offset;
    offset += *safetensors::internal::ShapeBytes(spec.shape, sizeof(float));
  }
  plan.file_bytes_ = offset;
  return plan;
}

void FilePlan::SetChecksums(size_t run, size_t section, std::string checksums) {
  metadata_[ChecksumsKey(parts_[run * sections_ + section].name)] = std::move(checksums);
}

absl::StatusOr<std::string> FilePlan::Head() const {
  uint64_t data_bytes = 0;
  absl::StatusOr<std::string> json = safetensors::internal::HeaderJson(in_order_, metadata_, &data_bytes);
  if (!json.ok()) return json;
  const uint64_t length = json->size();
  std::string head(sizeof(length), '\0');
  std::memcpy(head.data(), &length, sizeof(length));
  return head + *json;
}

safetensors::Metadata FileMetadata(const CheckpointIdentity& identity, ShardIndex shard) {
  const std::string participants = absl::StrJoin(
      identity.participants, ",", [](std::string* out, Rank rank) { absl::StrAppend(out, rank.value()); });
  return {{"checkpoint_format", absl::StrCat(kCheckpointFormat)},
          {"chunk_elements", absl::StrCat(kChunkElements)},
          {"completed_in", absl::StrCat(identity.completed_in.value())},
          {"optimizer", std::string(compute::OptimizerKindName(identity.optimizer))},
          {"participants", participants},
          {"run_id", identity.run_id},
          {"shard", absl::StrCat(shard.value())},
          {"shards", absl::StrCat(identity.shards)},
          {"version", absl::StrCat(identity.version.value())}};
}

std::string ChecksumsKey(const std::string& part) { return absl::StrCat("xxh3_128 ", part); }

std::string HeadChecksum(const std::string& head) {
  safetensors::Fingerprinter fingerprinter;
  fingerprinter.Update(head.data(), head.size());
  return fingerprinter.Hex();
}

}  // namespace lockstep::storage::internal
