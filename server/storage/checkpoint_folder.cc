// The checkpoints of a folder: which there are, which are whole, and which may go.
#include <algorithm>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "server/storage/checkpoint.h"
#include "server/storage/checkpoint_names.h"
#include "server/storage/checkpoint_reader.h"

namespace lockstep::storage {
namespace {

std::string FolderOf(const std::string& folder, Version version) {
  return absl::StrCat(folder, "/", internal::VersionFolderName(version));
}

struct VersionFolder {
  Version version;
  bool has_manifest = false;
};

// All versions' folders, finished or not, ascending.
absl::StatusOr<std::vector<VersionFolder>> ListVersions(FileSystem& files, const std::string& folder) {
  std::vector<VersionFolder> versions;
  const absl::StatusOr<std::vector<std::string>> names = files.List(folder);
  if (absl::IsNotFound(names.status())) return versions;
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const std::optional<Version> version = internal::ParseVersionFolderName(name);
    if (!version) continue;
    const absl::StatusOr<std::vector<std::string>> inside = files.List(FolderOf(folder, *version));
    if (absl::IsNotFound(inside.status())) continue;  // it was removed meanwhile
    if (!inside.ok()) return inside.status();
    const bool has_manifest = std::find(inside->begin(), inside->end(), internal::kManifestName) != inside->end();
    versions.push_back({.version = *version, .has_manifest = has_manifest});
  }
  std::sort(versions.begin(), versions.end(),
            [](const VersionFolder& a, const VersionFolder& b) { return a.version < b.version; });
  return versions;
}

// The manifest goes first: what is left of a removal that was cut short is an unfinished checkpoint.
absl::Status RemoveVersion(FileSystem& files, const std::string& folder) {
  absl::Status status = files.Remove(absl::StrCat(folder, "/", internal::kManifestName));
  if (status.ok()) status = files.SyncFolder(folder);
  const absl::StatusOr<std::vector<std::string>> names = files.List(folder);
  if (!names.ok()) status.Update(names.status());
  if (!status.ok()) return status;
  for (const std::string& name : *names) status.Update(files.Remove(absl::StrCat(folder, "/", name)));
  if (!status.ok()) return status;
  files.Remove(folder).IgnoreError();  // an empty folder that stays is in nobody's way
  return absl::OkStatus();
}

// Damage, or a format that this program does not read: not a checkpoint to it, but nothing that ends the search.
bool IsUnusable(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsFailedPrecondition(status) || absl::IsNotFound(status);
}

// The manifest, checked by itself.
absl::StatusOr<Manifest> LoadManifest(FileSystem& files, const std::string& folder, Version version) {
  const std::string path = absl::StrCat(FolderOf(folder, version), "/", internal::kManifestName);
  const absl::StatusOr<std::string> text = ReadFile(files, path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(folder, ": no checkpoint of version ", version.value(), ": there is no ", path));
  }
  if (!text.ok()) return text.status();
  absl::StatusOr<Manifest> manifest = DecodeManifest(path, *text);
  if (!manifest.ok()) return manifest;
  if (manifest->identity.version != version) {
    return absl::DataLossError(absl::StrCat(path, ": is of version ", manifest->identity.version.value(), ", not of ",
                                            version.value(), ": use another checkpoint"));
  }
  return manifest;
}

absl::Status CheckFiles(FileSystem& files, const std::string& folder, const Manifest& manifest, CheckDepth depth,
                        internal::CheckpointReader::Coverage coverage) {
  const absl::StatusOr<internal::CheckpointReader> reader =
      internal::CheckpointReader::Open(files, FolderOf(folder, manifest.identity.version), manifest, coverage);
  if (!reader.ok()) return reader.status();
  return depth == CheckDepth::kAllBytes ? reader->CheckAll() : absl::OkStatus();
}

absl::Status CheckOwnFile(FileSystem& files, const std::string& folder, const Manifest& manifest, ShardIndex own,
                          CheckDepth depth) {
  Manifest part = manifest;
  part.files.clear();
  for (const CheckpointFile& file : manifest.files) {
    if (file.shard == own) part.files.push_back(file);
  }
  if (part.files.empty()) {
    return absl::DataLossError(absl::StrCat(FolderOf(folder, manifest.identity.version), ": is of ",
                                            manifest.identity.shards, " shards, and has nothing of shard ",
                                            own.value()));
  }
  return CheckFiles(files, folder, part, depth, internal::CheckpointReader::Coverage::kPart);
}

bool InScope(const CheckpointIdentity& identity, const CheckpointScope& scope) {
  return scope.run_id.empty() || identity.run_id == scope.run_id;
}

// Which versions may go.
struct Retention {
  std::optional<Version> newest_whole;
  std::optional<Version> oldest_kept;  // nothing: there are not enough whole ones to remove any
  std::vector<Version> strangers;      // of other runs

  bool MayGo(const VersionFolder& folder) const {
    if (std::find(strangers.begin(), strangers.end(), folder.version) != strangers.end()) return false;
    if (!folder.has_manifest) return newest_whole && folder.version < *newest_whole;
    return oldest_kept && folder.version < *oldest_kept;
  }
};

absl::StatusOr<Retention> Decide(FileSystem& files, const std::string& folder,
                                 const std::vector<VersionFolder>& versions, size_t keep,
                                 const CheckpointScope& scope) {
  Retention retention;
  size_t whole = 0;
  for (auto it = versions.rbegin(); it != versions.rend(); ++it) {
    if (!it->has_manifest || (scope.newest && it->version > *scope.newest)) continue;
    const absl::StatusOr<Manifest> manifest = LoadManifest(files, folder, it->version);
    if (!manifest.ok()) {
      if (IsUnusable(manifest.status())) continue;
      return manifest.status();
    }
    if (!InScope(manifest->identity, scope)) {
      retention.strangers.push_back(it->version);
      continue;
    }
    if (retention.oldest_kept) continue;
    const absl::Status status = scope.own ? CheckOwnFile(files, folder, *manifest, *scope.own, scope.depth)
                                          : CheckFiles(files, folder, *manifest, scope.depth,
                                                       internal::CheckpointReader::Coverage::kWholeModel);
    if (IsUnusable(status)) continue;
    if (!status.ok()) return status;
    if (!retention.newest_whole) retention.newest_whole = it->version;
    if (++whole == keep) retention.oldest_kept = it->version;
  }
  return retention;
}

}  // namespace

absl::StatusOr<Manifest> ReadManifest(FileSystem& files, const std::string& folder, Version version, CheckDepth depth) {
  absl::StatusOr<Manifest> manifest = LoadManifest(files, folder, version);
  if (!manifest.ok()) return manifest;
  absl::Status status = CheckFiles(files, folder, *manifest, depth, internal::CheckpointReader::Coverage::kWholeModel);
  if (!status.ok()) return status;
  return manifest;
}

absl::StatusOr<Manifest> ReadOwnManifest(FileSystem& files, const std::string& folder, Version version, ShardIndex own,
                                         CheckDepth depth) {
  absl::StatusOr<Manifest> manifest = LoadManifest(files, folder, version);
  if (!manifest.ok()) return manifest;
  absl::Status status = CheckOwnFile(files, folder, *manifest, own, depth);
  if (!status.ok()) return status;
  return manifest;
}

absl::StatusOr<CheckpointsFound> FindCheckpoints(FileSystem& files, const std::string& folder,
                                                 const CheckpointScope& scope) {
  const absl::StatusOr<std::vector<Version>> versions = ListCheckpoints(files, folder);
  if (!versions.ok()) return versions.status();
  CheckpointsFound found;
  for (Version version : *versions) {
    if (scope.newest && version > *scope.newest) continue;
    absl::StatusOr<Manifest> manifest = LoadManifest(files, folder, version);
    if (manifest.ok() && !InScope(manifest->identity, scope)) continue;
    absl::Status status = manifest.status();
    if (status.ok()) {
      status = scope.own ? CheckOwnFile(files, folder, *manifest, *scope.own, scope.depth)
                         : CheckFiles(files, folder, *manifest, scope.depth,
                                      internal::CheckpointReader::Coverage::kWholeModel);
    }
    if (status.ok()) {
      found.whole.push_back(*std::move(manifest));
    } else if (IsUnusable(status)) {
      found.damaged.push_back(std::move(status));
    } else {
      return status;
    }
  }
  return found;
}

absl::StatusOr<std::vector<Version>> ListCheckpoints(FileSystem& files, const std::string& folder) {
  const absl::StatusOr<std::vector<VersionFolder>> all = ListVersions(files, folder);
  if (!all.ok()) return all.status();
  std::vector<Version> versions;
  for (const VersionFolder& version : *all) {
    if (version.has_manifest) versions.push_back(version.version);
  }
  return versions;
}

absl::Status RemoveOldCheckpoints(FileSystem& files, const std::string& folder, size_t keep,
                                  const CheckpointScope& scope) {
  const absl::StatusOr<std::vector<VersionFolder>> versions = ListVersions(files, folder);
  if (!versions.ok()) return versions.status();
  const absl::StatusOr<Retention> retention = Decide(files, folder, *versions, std::max<size_t>(keep, 1), scope);
  if (!retention.ok()) return retention.status();
  absl::Status status;
  for (const VersionFolder& version : *versions) {
    if (retention->MayGo(version)) status.Update(RemoveVersion(files, FolderOf(folder, version.version)));
  }
  return status;
}

absl::Status RemoveUnfinishedFiles(FileSystem& files, const std::string& folder, Version version,
                                   const std::string& file) {
  const absl::StatusOr<std::vector<VersionFolder>> versions = ListVersions(files, folder);
  if (!versions.ok()) return versions.status();
  absl::Status status;
  for (const VersionFolder& one : *versions) {
    if (one.version >= version || one.has_manifest) continue;
    const std::string path = FolderOf(folder, one.version);
    status.Update(files.Remove(absl::StrCat(path, "/", file)));
    const absl::StatusOr<std::vector<std::string>> left = files.List(path);
    if (left.ok() && left->empty()) files.Remove(path).IgnoreError();
  }
  return status;
}

absl::Status RemoveVersionsBut(FileSystem& files, const std::string& folder, std::optional<Version> version) {
  const absl::StatusOr<std::vector<VersionFolder>> versions = ListVersions(files, folder);
  if (!versions.ok()) return versions.status();
  absl::Status status;
  for (const VersionFolder& one : *versions) {
    if (one.version != version) status.Update(RemoveVersion(files, FolderOf(folder, one.version)));
  }
  return status;
}

// The folders stay: another shard may be about to write to one.
absl::Status RemoveTemporaryFiles(FileSystem& files, const std::string& folder, const std::string& file) {
  const absl::StatusOr<std::vector<VersionFolder>> versions = ListVersions(files, folder);
  if (!versions.ok()) return versions.status();
  absl::Status status;
  for (const VersionFolder& one : *versions) {
    const std::string path = FolderOf(folder, one.version);
    const absl::StatusOr<std::vector<std::string>> names = files.List(path);
    if (!names.ok() || !absl::c_linear_search(*names, internal::TemporaryName(file))) continue;
    status.Update(files.Remove(absl::StrCat(path, "/", internal::TemporaryName(file))));
  }
  return status;
}

}  // namespace lockstep::storage
