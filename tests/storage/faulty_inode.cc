#include "tests/storage/faulty_inode.h"

#include <algorithm>

namespace lockstep::testing {

void FaultyInode::Write(uint64_t offset, absl::string_view bytes) {
  if (bytes.empty()) return;
  seen_.resize(std::max<uint64_t>(seen_.size(), offset + bytes.size()));
  std::copy(bytes.begin(), bytes.end(), seen_.begin() + static_cast<ptrdiff_t>(offset));
  Remember(offset, bytes.size());
}

void FaultyInode::Resize(uint64_t size) {
  const uint64_t before = seen_.size();
  seen_.resize(size);
  if (size < before) Remember(size, before - size);  // what was cut off reads as zeros when the file grows again
}

void FaultyInode::Sync() {
  synced_.resize(seen_.size());
  for (const auto& [sector, versions] : versions_) SetSynced(sector, SectorOf(seen_, sector));
  versions_.clear();
}

void FaultyInode::FailToSync(Random& random) {
  for (const auto& [sector, versions] : versions_) {
    if (random() % 2 == 0) SetSynced(sector, versions.back());
  }
  versions_.clear();
}

void FaultyInode::LosePower(Random& random) {
  const uint64_t size = random() % 2 == 0 ? synced_.size() : seen_.size();
  synced_.resize(std::max(synced_.size(), seen_.size()));
  for (auto& [sector, versions] : versions_) {
    versions.push_back(SectorOf(synced_, sector));
    std::string kept = versions[Uniform(random, 0, versions.size() - 1)];
    if (random() % 8 == 0) {  // torn
      const std::string& other = versions[Uniform(random, 0, versions.size() - 1)];
      const size_t at = Uniform(random, 0, kSector - 1);
      kept.replace(at, kSector - at, other, at, kSector - at);
    }
    SetSynced(sector, kept);
  }
  versions_.clear();
  synced_.resize(size);
  seen_ = synced_;
}

void FaultyInode::Remember(uint64_t offset, uint64_t size) {
  for (uint64_t sector = offset / kSector; sector * kSector < offset + size; ++sector) {
    versions_[sector].push_back(SectorOf(seen_, sector));
  }
}

std::string FaultyInode::SectorOf(const std::string& contents, uint64_t sector) const {
  std::string bytes = sector * kSector < contents.size() ? contents.substr(sector * kSector, kSector) : "";
  bytes.resize(kSector);
  return bytes;
}

void FaultyInode::SetSynced(uint64_t sector, const std::string& bytes) {
  const uint64_t at = sector * kSector;
  if (at >= synced_.size()) return;
  synced_.replace(at, std::min(kSector, synced_.size() - at), bytes, 0, std::min(kSector, synced_.size() - at));
}

}  // namespace lockstep::testing
