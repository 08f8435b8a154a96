#include "tests/storage/faulty_files.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace lockstep::testing {

using storage::Bytes;
using storage::File;
using storage::FolderOf;
using storage::MutableBytes;

class FaultyFiles::Handle : public File {
 public:
  Handle(FaultyFiles& files, std::string path, std::shared_ptr<FaultyInode> inode, uint64_t life)
      : files_(files), path_(std::move(path)), inode_(std::move(inode)), life_(life) {}

  const std::string& path() const override { return path_; }

  absl::Status Read(uint64_t offset, MutableBytes into) const override {
    MutexLock lock(&files_.mutex_);
    if (files_.crashed_ || life_ != files_.life_) return Dead();
    if (files_.reads_until_fault_ != kUntilLifted && files_.reads_until_fault_-- == 0) {
      files_.reads_until_fault_ = kUntilLifted;
      return absl::UnavailableError(absl::StrCat("reading ", path_, ": the disk failed"));
    }
    const std::string& seen = inode_->seen();
    if (offset > seen.size() || into.size() > seen.size() - offset) {
      return absl::OutOfRangeError(absl::StrCat(path_, ": ends at byte ", seen.size()));
    }
    const Bytes from = storage::AsBytes(seen).subspan(offset, into.size());
    std::copy(from.begin(), from.end(), into.begin());
    return absl::OkStatus();
  }

  absl::Status Write(uint64_t offset, Bytes bytes) override {
    MutexLock lock(&files_.mutex_);
    if (life_ != files_.life_) return Dead();
    absl::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (const std::optional<Fault> fault = files_.NextFault(); fault.has_value()) {
      // All of it now and then: an error does not say that nothing was written.
      const bool whole = files_.random_() % 4 == 0;
      const size_t count = whole ? text.size() : Uniform(files_.random_, 0, text.size());
      if (!files_.crashed_) inode_->Write(offset, text.substr(0, count));
      return files_.Fail(*fault, path_);
    }
    absl::Status room = files_.Grow(*inode_, offset + bytes.size(), path_);
    if (!room.ok()) return room;
    inode_->Write(offset, text);
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    MutexLock lock(&files_.mutex_);
    if (life_ != files_.life_) return Dead();
    if (const std::optional<Fault> fault = files_.NextFault(); fault.has_value()) {
      if (*fault != Fault::kCrash) inode_->FailToSync(files_.random_);
      return files_.Fail(*fault, path_);
    }
    inode_->Sync();
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t size) override {
    MutexLock lock(&files_.mutex_);
    if (life_ != files_.life_) return Dead();
    absl::Status status = files_.Check(path_);
    if (status.ok()) status = files_.Grow(*inode_, size, path_);
    return status;
  }

  absl::Status Truncate(uint64_t size) override {
    MutexLock lock(&files_.mutex_);
    if (life_ != files_.life_) return Dead();
    absl::Status status = files_.Check(path_);
    if (status.ok()) inode_->Resize(size);
    return status;
  }

  absl::StatusOr<uint64_t> Size() const override {
    MutexLock lock(&files_.mutex_);
    if (files_.crashed_ || life_ != files_.life_) return Dead();
    return inode_->seen().size();
  }

 private:
  absl::Status Dead() const { return absl::UnavailableError(absl::StrCat(path_, ": was opened before the crash")); }

  FaultyFiles& files_;
  const std::string path_;
  const std::shared_ptr<FaultyInode> inode_;
  const uint64_t life_;
};

uint64_t FaultyFiles::operations() const {
  MutexLock lock(&mutex_);
  return operations_;
}

void FaultyFiles::FailAt(uint64_t operation, Fault fault, uint64_t count) {
  MutexLock lock(&mutex_);
  fail_from_ = operation;
  fail_count_ = count;
  fault_ = fault;
}

void FaultyFiles::FailReadAt(uint64_t read) {
  MutexLock lock(&mutex_);
  reads_until_fault_ = read;
}

void FaultyFiles::LimitSpace(uint64_t bytes) {
  MutexLock lock(&mutex_);
  space_ = bytes;
}

void FaultyFiles::Lift() {
  MutexLock lock(&mutex_);
  fail_from_ = kUntilLifted;
  reads_until_fault_ = kUntilLifted;
  space_ = kUntilLifted;
}

void FaultyFiles::Crash(Survives survives) {
  Lift();
  MutexLock lock(&mutex_);
  crashed_ = false;
  ++life_;
  if (survives == Survives::kAll) return;
  std::set<std::shared_ptr<FaultyInode>> inodes;
  for (const Names* names : {&names_, &synced_names_}) {
    for (const auto& [path, inode] : *names) {
      if (inodes.insert(inode).second) inode->LosePower(random_);
    }
  }
  for (const NameChange& change : unsynced_) {
    if (random_() % 2 == 0) Apply(change, synced_names_);
  }
  unsynced_.clear();
  names_ = synced_names_;
}

std::map<std::string, std::string> FaultyFiles::Contents() const {
  MutexLock lock(&mutex_);
  std::map<std::string, std::string> contents;
  for (const auto& [path, inode] : names_) contents[path] = inode->seen();
  return contents;
}

void FaultyFiles::SetContents(const std::map<std::string, std::string>& contents) {
  MutexLock lock(&mutex_);
  names_.clear();
  for (const auto& [path, bytes] : contents) {
    names_[path] = std::make_shared<FaultyInode>(bytes);
    for (std::string folder = FolderOf(path); folders_.insert(folder).second;) folder = FolderOf(folder);
  }
  synced_names_ = names_;
  unsynced_.clear();
}

uint64_t FaultyFiles::bytes() const {
  MutexLock lock(&mutex_);
  return BytesLocked();
}

absl::StatusOr<std::unique_ptr<File>> FaultyFiles::OpenOrCreate(const std::string& path) {
  MutexLock lock(&mutex_);
  absl::Status status = Check(path);
  if (!status.ok()) return status;
  if (!folders_.contains(FolderOf(path))) return absl::NotFoundError(absl::StrCat(path, ": no such folder"));
  if (!names_.contains(path)) Change({.gone = "", .there = path, .inode = std::make_shared<FaultyInode>()});
  return std::make_unique<Handle>(*this, path, names_[path], life_);
}

absl::StatusOr<std::unique_ptr<File>> FaultyFiles::Open(const std::string& path) {
  MutexLock lock(&mutex_);
  if (crashed_) return Fail(Fault::kCrash, path);
  const auto found = names_.find(path);
  if (found == names_.end()) return absl::NotFoundError(absl::StrCat("opening ", path, ": no such file"));
  return std::make_unique<Handle>(*this, path, found->second, life_);
}

absl::StatusOr<std::vector<std::string>> FaultyFiles::List(const std::string& folder) {
  MutexLock lock(&mutex_);
  if (crashed_) return Fail(Fault::kCrash, folder);
  if (!folders_.contains(folder)) return absl::NotFoundError(absl::StrCat("listing ", folder, ": no such folder"));
  std::set<std::string> names;
  const auto add = [&](const std::string& path) {
    if (path != folder && FolderOf(path) == folder) names.insert(path.substr(path.rfind('/') + 1));
  };
  for (const auto& [path, inode] : names_) add(path);
  for (const std::string& path : folders_) add(path);
  return std::vector<std::string>(names.begin(), names.end());
}

absl::Status FaultyFiles::MakeFolder(const std::string& folder) {
  MutexLock lock(&mutex_);
  absl::Status status = Check(folder);
  if (!status.ok()) return status;
  for (std::string path = folder; folders_.insert(path).second;) path = FolderOf(path);
  return absl::OkStatus();
}

absl::Status FaultyFiles::Rename(const std::string& from, const std::string& to) {
  MutexLock lock(&mutex_);
  absl::Status status = Check(to);
  if (!status.ok()) return status;
  const auto found = names_.find(from);
  if (found == names_.end()) return absl::NotFoundError(absl::StrCat("renaming ", from, ": no such file"));
  Change({.gone = from, .there = to, .inode = found->second});
  return absl::OkStatus();
}

absl::Status FaultyFiles::Remove(const std::string& path) {
  MutexLock lock(&mutex_);
  absl::Status status = Check(path);
  if (!status.ok()) return status;
  if (names_.contains(path)) {
    Change({.gone = path, .there = "", .inode = nullptr});
  } else if (folders_.contains(path)) {
    const auto inside = names_.lower_bound(path + "/");
    if (inside != names_.end() && absl::StartsWith(inside->first, path + "/")) {
      return absl::AlreadyExistsError(absl::StrCat("removing ", path, ": the folder is not empty"));
    }
    folders_.erase(path);
  }
  return absl::OkStatus();
}

absl::Status FaultyFiles::SyncFolder(const std::string& folder) {
  MutexLock lock(&mutex_);
  absl::Status status = Check(folder);
  if (!status.ok()) return status;
  const auto is_here = [&](const NameChange& change) {
    return FolderOf(change.there.empty() ? change.gone : change.there) == folder;
  };
  for (const NameChange& change : unsynced_) {
    if (is_here(change)) Apply(change, synced_names_);
  }
  std::erase_if(unsynced_, is_here);
  return absl::OkStatus();
}

std::optional<FaultyFiles::Fault> FaultyFiles::NextFault() {
  if (crashed_) return Fault::kCrash;
  const uint64_t operation = operations_++;
  if (operation < fail_from_ || operation - fail_from_ >= fail_count_) return std::nullopt;
  return fault_;
}

absl::Status FaultyFiles::Fail(Fault fault, const std::string& path) {
  if (fault == Fault::kNoSpace)
    return absl::ResourceExhaustedError(absl::StrCat("no space left on the disk of ", path));
  if (fault == Fault::kBroken) return absl::UnavailableError(absl::StrCat(path, ": the disk failed"));
  crashed_ = true;
  return absl::UnavailableError(absl::StrCat(path, ": crashed"));
}

absl::Status FaultyFiles::Check(const std::string& path) {
  const std::optional<Fault> fault = NextFault();
  return fault.has_value() ? Fail(*fault, path) : absl::OkStatus();
}

absl::Status FaultyFiles::Grow(FaultyInode& inode, uint64_t size, const std::string& path) {
  const uint64_t before = inode.seen().size();
  if (size <= before) return absl::OkStatus();
  if (space_ != kUntilLifted && BytesLocked() + (size - before) > space_) return Fail(Fault::kNoSpace, path);
  inode.Resize(size);
  return absl::OkStatus();
}

uint64_t FaultyFiles::BytesLocked() const {
  uint64_t bytes = 0;
  for (const auto& [path, inode] : names_) bytes += inode->seen().size();
  return bytes;
}

void FaultyFiles::Change(NameChange change) {
  Apply(change, names_);
  unsynced_.push_back(std::move(change));
}

void FaultyFiles::Apply(const NameChange& change, Names& names) {
  if (!change.gone.empty()) names.erase(change.gone);
  if (!change.there.empty()) names[change.there] = change.inode;
}

}  // namespace lockstep::testing
