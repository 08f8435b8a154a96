// Files in memory that die at a chosen operation and forget, or keep, what was not synced, at random.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SERVER_STORAGE_MEMORY_FILES_H_
#define LOCKSTEP_TESTS_SERVER_STORAGE_MEMORY_FILES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/storage/file_system.h"
#include "tests/testing/seeds.h"

namespace lockstep::storage {

class MemoryFiles : public FileSystem {
 public:
  struct Node {
    bool folder = false;
    std::string now;
    std::string synced;
  };
  using Tree = std::map<std::string, std::shared_ptr<Node>>;

  // Operation number `operation` (from 0) that changes something fails with `error`; with `dead`, all after it too.
  void FailAt(int64_t operation, absl::Status error, bool dead) {
    countdown_ = operation;
    error_ = std::move(error);
    stays_dead_ = dead;
  }
  // Whether the operation that was to fail was reached.
  bool failed() const { return failed_; }
  // The machine comes back after a power cut: of what was not synced, some is there and some is not.
  void PowerCut(testing::Random& random);

  bool Has(const std::string& path) const { return tree_.contains(path); }
  // The contents of a file, to be looked at and damaged.
  std::string& Contents(const std::string& path) { return tree_.at(path)->now; }
  std::vector<std::string> Paths() const;

  absl::StatusOr<std::unique_ptr<File>> OpenOrCreate(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override;
  absl::Status MakeFolder(const std::string& folder) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status SyncFolder(const std::string& folder) override;

  // Counts an operation that changes something.
  absl::Status Step();

 private:
  Tree tree_;
  Tree synced_;
  int64_t countdown_ = -1;
  absl::Status error_;
  bool stays_dead_ = false;
  bool failed_ = false;
};

}  // namespace lockstep::storage

#endif  // LOCKSTEP_TESTS_SERVER_STORAGE_MEMORY_FILES_H_
