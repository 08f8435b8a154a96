#include "server/service/shard_base.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/convert.h"
#include "proto/durable.pb.h"
#include "server/storage/sealed_file.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {
namespace {

constexpr absl::string_view kKind = "lockstep shard base 1";

std::string PathIn(const std::string& data_folder) { return absl::StrCat(data_folder, "/base"); }

}  // namespace

v1::CheckpointPart ToProto(const ShardBase& base) {
  v1::CheckpointPart part;
  part.set_version(base.identity.version.value());
  part.set_completed_in(base.identity.completed_in.value());
  ToProto(base.identity.participants, part.mutable_participants());
  part.set_file(base.file.name);
  part.set_bytes(base.file.bytes);
  part.set_head_xxh3_128(base.file.head_xxh3_128);
  return part;
}

absl::Status SaveShardBase(storage::FileSystem& files, const std::string& data_folder, const ShardBase& base) {
  v1::ShardBase saved;
  saved.set_run_id(base.identity.run_id);
  *saved.mutable_part() = ToProto(base);
  saved.set_compacted(base.compacted);
  return storage::WriteSealedFile(files, PathIn(data_folder), kKind, saved.SerializeAsString());
}

absl::StatusOr<std::optional<ShardBase>> LoadShardBase(storage::FileSystem& files, const std::string& data_folder,
                                                       const ShardModel& model) {
  absl::StatusOr<std::optional<std::string>> contents = storage::ReadSealedFile(files, PathIn(data_folder), kKind);
  if (!contents.ok()) return contents.status();
  if (!*contents) return std::nullopt;
  v1::ShardBase saved;
  if (!saved.ParseFromString(**contents)) {
    return absl::DataLossError(absl::StrCat(PathIn(data_folder), " cannot be parsed"));
  }
  const v1::CheckpointPart& part = saved.part();
  return ShardBase{
      .identity = {.run_id = saved.run_id(),
                   .version = Version(part.version()),
                   .completed_in = Generation(part.completed_in()),
                   .participants = RanksFromProto(part.participants()),
                   .shards = model.layout.shards(),
                   .optimizer = model.optimizer},
      .file = {.shard = model.shard, .name = part.file(), .bytes = part.bytes(), .head_xxh3_128 = part.head_xxh3_128()},
      .compacted = saved.compacted()};
}

void RemoveCompactedBut(storage::FileSystem& files, const ShardFolders& folders, const ShardBase& base) {
  const auto kept = base.compacted ? std::optional<Version>(base.identity.version) : std::nullopt;
  const absl::Status status = storage::RemoveVersionsBut(files, folders.compacted(), kept);
  if (!status.ok()) spdlog::warn("cannot remove what is compacted no more: {}", std::string(status.message()));
}

absl::Status RestoreFromBase(storage::FileSystem& files, const std::string& folder, const ShardBase& base,
                             ShardModel& model) {
  const storage::Manifest manifest{.identity = base.identity, .model = model.spec, .files = {base.file}};
  return storage::RestoreOwnFile(files, folder, manifest, model.layout, model.shard,
                                 [&](Slot slot, const storage::BlockContents& contents) {
                                   model.store.Restore(slot, contents.parameters, contents.state);
                                   return absl::OkStatus();
                                 });
}

absl::StatusOr<ShardBase> WriteShardPart(storage::FileSystem& files, const std::string& folder,
                                         const storage::CheckpointIdentity& identity, const ShardModel& model,
                                         const std::vector<storage::BlockSnapshot>& blocks,
                                         const std::function<bool(int64_t)>& await_turn) {
  std::vector<std::vector<float>> state;
  const auto read = [&](Slot slot, storage::BlockContents& contents) {
    const storage::BlockSnapshot& block = blocks[slot.value()];
    if (await_turn && !await_turn(block.bytes())) return absl::CancelledError("the process ends");
    block.WriteState(state);
    contents.parameters = block.parameters();
    contents.state.assign(state.begin(), state.end());
    return absl::OkStatus();
  };
  absl::StatusOr<storage::CheckpointFile> file =
      storage::WriteShardCheckpoint(files, folder, identity, model.spec, model.layout, model.shard, read);
  if (!file.ok()) return file.status();
  return ShardBase{.identity = identity, .file = *std::move(file)};
}

}  // namespace lockstep::service
