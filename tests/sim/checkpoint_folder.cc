#include "tests/sim/checkpoint_folder.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/sim/random.h"

namespace lockstep::sim {

CheckpointFile MakeFile(Version version, Generation completed_in, std::vector<Rank> participants,
                        std::vector<BlockStore::Contents> blocks) {
  uint64_t sum = Mix({version.value(), completed_in.value()});
  const auto add = [&sum](const std::vector<float>& values) {
    for (float value : values) sum = Mix({sum, std::bit_cast<uint32_t>(value)});
  };
  for (const BlockStore::Contents& block : blocks) {
    add(block.parameters);
    add(block.velocity);
  }
  core::CheckpointPart part{.version = version,
                            .completed_in = completed_in,
                            .participants = std::move(participants),
                            .file = "part",
                            .bytes = 1,
                            .head_xxh3_128 = absl::StrCat(absl::Hex(sum))};
  return {.part = std::move(part), .blocks = std::move(blocks)};
}

void CheckpointFolder::PutPart(ShardIndex shard, CheckpointFile file) {
  versions_[file.part.version].files.insert_or_assign(shard, std::move(file));
}

const CheckpointFile* CheckpointFolder::Find(ShardIndex shard, Version version) const {
  const auto folder = versions_.find(version);
  if (folder == versions_.end()) return nullptr;
  const auto file = folder->second.files.find(shard);
  return file == folder->second.files.end() ? nullptr : &file->second;
}

void CheckpointFolder::WriteManifest(const std::vector<core::CheckpointPart>& parts) {
  versions_[parts[0].version].manifest = parts;
}

bool CheckpointFolder::HasManifest(Version version) const {
  const auto folder = versions_.find(version);
  return folder != versions_.end() && !folder->second.manifest.empty();
}

bool CheckpointFolder::IsWhole(Version version) const {
  const auto folder = versions_.find(version);
  return folder != versions_.end() && IsWhole(folder->second);
}

bool CheckpointFolder::IsWhole(const Folder& folder) const {
  if (folder.manifest.size() != shards_) return false;
  for (uint32_t s = 0; s < shards_; ++s) {
    const auto file = folder.files.find(ShardIndex(s));
    if (file == folder.files.end() || file->second.part.head_xxh3_128 != folder.manifest[s].head_xxh3_128) return false;
  }
  return true;
}

std::vector<core::RestorableVersion> CheckpointFolder::Restorable(ShardIndex shard, bool manifests) const {
  std::vector<core::RestorableVersion> whole;
  for (const auto& [version, folder] : versions_) {
    const auto own = folder.files.find(shard);
    if (IsWhole(folder)) {
      whole.push_back({version, folder.manifest[0].completed_in});
    } else if (!manifests && own != folder.files.end()) {
      whole.push_back({version, own->second.part.completed_in});
    }
  }
  return whole;
}

size_t CheckpointFolder::RemoveOld(uint32_t keep, Version newest) {
  std::optional<Version> newest_whole;
  std::optional<Version> oldest_kept;
  uint32_t whole = 0;
  for (auto at = versions_.rbegin(); at != versions_.rend(); ++at) {
    if (at->first > newest || !IsWhole(at->second)) continue;
    if (!newest_whole) newest_whole = at->first;
    if (++whole == keep) oldest_kept = at->first;
  }
  return std::erase_if(versions_, [&](const auto& entry) {
    if (entry.second.manifest.empty()) return newest_whole && entry.first < *newest_whole;
    return oldest_kept && entry.first < *oldest_kept;
  });
}

void CheckpointFolder::RemoveUnfinished(ShardIndex shard, Version version) {
  for (auto& [of, folder] : versions_) {
    if (of < version && folder.manifest.empty()) folder.files.erase(shard);
  }
}

}  // namespace lockstep::sim
