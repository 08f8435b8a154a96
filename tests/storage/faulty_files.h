// FaultyFiles: a disk in memory that fails, fills up, flips bits, and forgets what was not synced; from a seed.
//
//   FaultyFiles files(seed);
//   files.FailAt(files.operations() + 7, FaultyFiles::Fault::kCrash);   // the 8th write, sync, rename ... from here on
//   ... use it until everything fails ...
//   files.Crash(FaultyFiles::Survives::kSynced);                        // the machine is back; so is the disk, mostly
//
// Of what was written since the last Sync, power loss keeps any subset of sectors, each in any of the versions that it
// had, or torn between two of them; of what was renamed, made and removed since the last SyncFolder, any subset. A Sync
// that fails keeps any subset and takes the rest for written, as Linux does. Handles that were open at a crash fail.
//
// Thread-safety: all of it. The disk must outlive its open files.
#ifndef LOCKSTEP_TESTS_STORAGE_FAULTY_FILES_H_
#define LOCKSTEP_TESTS_STORAGE_FAULTY_FILES_H_

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "server/storage/file_system.h"
#include "tests/storage/faulty_inode.h"
#include "tests/testing/seeds.h"

namespace lockstep::testing {

class FaultyFiles : public storage::FileSystem {
 public:
  enum class Fault {
    kNoSpace,  // RESOURCE_EXHAUSTED; a part of a write may be there
    kBroken,   // UNAVAILABLE; a part of a write may be there; a Sync loses some of it
    kCrash,    // a part of a write may be there, and nothing works until Crash
  };
  enum class Survives {
    kAll,     // the process died
    kSynced,  // the machine died
  };
  static constexpr uint64_t kUntilLifted = std::numeric_limits<uint64_t>::max();

  explicit FaultyFiles(uint64_t seed) : random_(seed) {}

  // Operations that change something, so far: the number of the next one.
  uint64_t operations() const;
  // Operation number `operation`, and `count` - 1 after it, fail.
  void FailAt(uint64_t operation, Fault fault, uint64_t count = 1);
  // Read number `read` from here on fails with UNAVAILABLE.
  void FailReadAt(uint64_t read);
  // Files may take so many bytes in all; kUntilLifted: any.
  void LimitSpace(uint64_t bytes);
  // Nothing fails any more.
  void Lift();
  // Everything starts again, on this disk.
  void Crash(Survives survives);

  // The disk by hand. Contents that are set are synced.
  std::map<std::string, std::string> Contents() const;
  void SetContents(const std::map<std::string, std::string>& contents);
  uint64_t bytes() const;

  absl::StatusOr<std::unique_ptr<storage::File>> OpenOrCreate(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<storage::File>> Open(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override;
  absl::Status MakeFolder(const std::string& folder) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status SyncFolder(const std::string& folder) override;

 private:
  class Handle;
  // A change of names that is not synced. Empty: nothing appears, nothing goes.
  struct NameChange {
    std::string gone;
    std::string there;
    std::shared_ptr<FaultyInode> inode;
  };
  using Names = std::map<std::string, std::shared_ptr<FaultyInode>>;

  std::optional<Fault> NextFault() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Fail(Fault fault, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Check(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Grow(FaultyInode& inode, uint64_t size, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t BytesLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Change(NameChange change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Apply(const NameChange& change, Names& names);

  mutable Mutex mutex_;
  Random random_ ABSL_GUARDED_BY(mutex_);
  Names names_ ABSL_GUARDED_BY(mutex_);
  Names synced_names_ ABSL_GUARDED_BY(mutex_);
  std::vector<NameChange> unsynced_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> folders_ ABSL_GUARDED_BY(mutex_) = {"", ".", "/"};
  uint64_t life_ ABSL_GUARDED_BY(mutex_) = 0;
  bool crashed_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t operations_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t fail_from_ ABSL_GUARDED_BY(mutex_) = kUntilLifted;
  uint64_t fail_count_ ABSL_GUARDED_BY(mutex_) = 0;
  Fault fault_ ABSL_GUARDED_BY(mutex_) = Fault::kBroken;
  uint64_t reads_until_fault_ ABSL_GUARDED_BY(mutex_) = kUntilLifted;
  uint64_t space_ ABSL_GUARDED_BY(mutex_) = kUntilLifted;
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_STORAGE_FAULTY_FILES_H_
