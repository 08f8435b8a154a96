// One file of FaultyFiles: what a reader sees, what the disk has, and what is between the two, sector by sector.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_STORAGE_FAULTY_INODE_H_
#define LOCKSTEP_TESTS_STORAGE_FAULTY_INODE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {

class FaultyInode {
 public:
  static constexpr uint64_t kSector = 512;

  FaultyInode() = default;
  explicit FaultyInode(std::string contents) : seen_(contents), synced_(std::move(contents)) {}

  const std::string& seen() const { return seen_; }

  void Write(uint64_t offset, absl::string_view bytes);
  void Resize(uint64_t size);
  void Sync();
  // Some sectors reach the disk; the others are taken for written.
  void FailToSync(Random& random);
  // Only what is on the disk is left, and some of what was on its way.
  void LosePower(Random& random);

 private:
  void Remember(uint64_t offset, uint64_t size);
  std::string SectorOf(const std::string& contents, uint64_t sector) const;
  void SetSynced(uint64_t sector, const std::string& bytes);

  std::string seen_;
  std::string synced_;
  std::map<uint64_t, std::vector<std::string>> versions_;  // of sectors that were written since the last Sync, in order
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_STORAGE_FAULTY_INODE_H_
