#include "server/service/shard_base.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/convert.h"
#include "proto/durable.pb.h"
#include "server/storage/sealed_file.h"

namespace lockstep::service {
namespace {

constexpr absl::string_view kKind = "lockstep shard base 1";

std::string PathIn(const std::string& data_folder) { return absl::StrCat(data_folder, "/base"); }

}  // namespace

absl::Status SaveShardBase(storage::FileSystem& files, const std::string& data_folder, const ShardBase& base) {
  v1::ShardBase saved;
  saved.set_run_id(base.identity.run_id);
  saved.set_version(base.identity.version.value());
  saved.set_completed_in(base.identity.completed_in.value());
  ToProto(base.identity.participants, saved.mutable_participants());
  saved.set_file(base.file.name);
  saved.set_bytes(base.file.bytes);
  saved.set_head_xxh3_128(base.file.head_xxh3_128);
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
  return ShardBase{
      .identity = {.run_id = saved.run_id(),
                   .version = Version(saved.version()),
                   .completed_in = Generation(saved.completed_in()),
                   .participants = RanksFromProto(saved.participants()),
                   .shards = model.layout.shards(),
                   .optimizer = model.optimizer},
      .file = {
          .shard = model.shard, .name = saved.file(), .bytes = saved.bytes(), .head_xxh3_128 = saved.head_xxh3_128()}};
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

}  // namespace lockstep::service
