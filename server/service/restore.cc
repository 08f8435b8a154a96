#include "server/service/restore.h"

#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/storage/checkpoint_names.h"

namespace lockstep::service {
namespace {

using storage::BlockContents;
using storage::CheckpointIdentity;
using storage::Manifest;

// Arrays of zeros where the source has no state.
storage::StoreBlock StoreInto(const ShardModel& model, const BlockAccess& blocks) {
  return [&](Slot slot, const BlockContents& contents) {
    const auto slots = static_cast<size_t>(compute::StateSlots(model.optimizer));
    if (contents.state.size() == slots) {
      blocks.store(slot, contents);
      return absl::OkStatus();
    }
    const std::vector<float> zeros(contents.parameters.size());
    BlockContents whole{.parameters = contents.parameters, .state = {}};
    whole.state.assign(slots, zeros);
    blocks.store(slot, whole);
    return absl::OkStatus();
  };
}

absl::StatusOr<ShardBase> RestoreOwn(storage::FileSystem& files, const std::string& folder, const std::string& run_id,
                                     Version version, const ShardModel& model, const BlockAccess& blocks) {
  absl::StatusOr<Manifest> manifest =
      storage::ReadOwnManifest(files, folder, version, model.shard, storage::CheckDepth::kHeads);
  if (!manifest.ok()) return manifest.status();
  if (manifest->identity.run_id != run_id || manifest->identity.shards != model.layout.shards()) {
    return absl::DataLossError(absl::StrCat(folder, ": version ", version.value(), " is of run ",
                                            manifest->identity.run_id, " with ", manifest->identity.shards,
                                            " shards, not of this one"));
  }
  const storage::CheckpointFile own = manifest->files[model.shard.value()];
  manifest->files = {own};
  const absl::Status status =
      storage::RestoreOwnFile(files, folder, *manifest, model.layout, model.shard, StoreInto(model, blocks));
  if (!status.ok()) return status;
  return ShardBase{.identity = manifest->identity, .file = own};
}

absl::StatusOr<CheckpointIdentity> RestoreForeign(storage::FileSystem& files, const v1::RestoreSource& source,
                                                  const ShardModel& model, const BlockAccess& blocks) {
  if (source.kind() == v1::RestoreSource::PLAIN) {
    const absl::Status status = storage::RestoreFromPlain(files, source.path(), model.spec, model.layout, model.shard,
                                                          StoreInto(model, blocks));
    if (!status.ok()) return status;
    return CheckpointIdentity{
        .run_id = "", .version = Version(0), .completed_in = Generation(1), .participants = {Rank(0)}};
  }
  const absl::StatusOr<Manifest> manifest =
      storage::ReadManifest(files, source.path(), Version(source.version()), storage::CheckDepth::kHeads);
  if (!manifest.ok()) return manifest.status();
  const absl::Status status = storage::RestoreShard(files, source.path(), *manifest, model.spec, model.layout,
                                                    model.shard, model.optimizer, StoreInto(model, blocks));
  if (!status.ok()) return status;
  return manifest->identity;
}

absl::StatusOr<Beginning> BeginFrom(storage::FileSystem& files, const std::string& folder, Version version) {
  const absl::StatusOr<Manifest> manifest =
      storage::ReadManifest(files, folder, version, storage::CheckDepth::kAllBytes);
  if (!manifest.ok()) return manifest.status();
  Beginning beginning{.source = {}, .model = manifest->model, .optimizer = manifest->identity.optimizer, .damaged = {}};
  beginning.source.set_kind(v1::RestoreSource::CHECKPOINT);
  beginning.source.set_path(folder);
  beginning.source.set_version(version.value());
  return beginning;
}

absl::StatusOr<Beginning> BeginFromNewest(storage::FileSystem& files, const std::string& folder) {
  const absl::StatusOr<std::vector<Version>> versions = storage::ListCheckpoints(files, folder);
  if (!versions.ok()) return versions.status();
  std::vector<std::string> damaged;
  for (auto version = versions->rbegin(); version != versions->rend(); ++version) {
    absl::StatusOr<Beginning> beginning = BeginFrom(files, folder, *version);
    if (beginning.ok()) {
      beginning->damaged = std::move(damaged);
      return beginning;
    }
    damaged.push_back(std::string(beginning.status().message()));
  }
  if (damaged.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder,
        " holds no checkpoint: expected a .safetensors file, the folder of a checkpoint (version-...), or a folder "
        "of checkpoints"));
  }
  return absl::DataLossError(absl::StrCat("no checkpoint in ", folder, " is whole: ", absl::StrJoin(damaged, "; ")));
}

}  // namespace

absl::StatusOr<ShardBase> Restore(storage::FileSystem& files, const ShardFolders& folders, const std::string& run_id,
                                  const v1::RestoreSource& source, const ShardModel& model, const BlockAccess& blocks) {
  absl::StatusOr<ShardBase> base;
  if (source.kind() == v1::RestoreSource::OWN) {
    base = RestoreOwn(files, folders.checkpoints(), run_id, Version(source.version()), model, blocks);
  } else {
    absl::StatusOr<CheckpointIdentity> identity = RestoreForeign(files, source, model, blocks);
    if (!identity.ok()) return identity.status();
    identity->run_id = run_id;
    identity->shards = model.layout.shards();
    identity->optimizer = model.optimizer;
    base = WriteShardPart(files, folders.checkpoints(), *identity, model, blocks.snapshot());
  }
  if (!base.ok()) return base;
  if (absl::Status status = SaveShardBase(files, folders.data, *base); !status.ok()) return status;
  RemoveCompactedBut(files, folders, *base);
  return base;
}

absl::StatusOr<Beginning> FindBeginning(storage::FileSystem& files, const std::string& path,
                                        const std::string& checkpoints) {
  std::error_code error;
  std::filesystem::path whole = std::filesystem::absolute(path == "latest" ? checkpoints : path, error);
  if (whole.filename().empty()) whole = whole.parent_path();
  if (!std::filesystem::exists(whole, error)) {
    return absl::InvalidArgumentError(absl::StrCat(whole.string(), " does not exist"));
  }
  if (!std::filesystem::is_directory(whole, error)) {
    if (!absl::EndsWith(whole.string(), ".safetensors")) {
      return absl::InvalidArgumentError(absl::StrCat(
          whole.string(), ": expected a .safetensors file, the folder of a checkpoint, or a folder of checkpoints"));
    }
    // Whether it fits the model is seen when workers define that; the rest now, before anybody waits for it.
    if (absl::Status status = storage::CheckPlain(files, whole.string()); !status.ok()) return status;
    Beginning beginning;
    beginning.source.set_kind(v1::RestoreSource::PLAIN);
    beginning.source.set_path(whole.string());
    return beginning;
  }
  const std::optional<Version> version = storage::internal::ParseVersionFolderName(whole.filename().string());
  if (version) return BeginFrom(files, whole.parent_path().string(), *version);
  return BeginFromNewest(files, whole.string());
}

}  // namespace lockstep::service
