#include "tests/server/storage/memory_files.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace lockstep::storage {
namespace {

using Node = MemoryFiles::Node;

std::string Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? "" : path.substr(0, slash);
}

class MemoryFile : public File {
 public:
  MemoryFile(MemoryFiles& files, std::string path, std::shared_ptr<Node> node)
      : files_(files), path_(std::move(path)), node_(std::move(node)) {}

  const std::string& path() const override { return path_; }
  absl::Status Read(uint64_t offset, MutableBytes into) const override {
    if (offset > node_->now.size() || into.size() > node_->now.size() - offset) {
      return absl::OutOfRangeError(path_ + ": read past the end");
    }
    if (!into.empty()) std::memcpy(into.data(), node_->now.data() + offset, into.size());
    return absl::OkStatus();
  }
  absl::Status Write(uint64_t offset, Bytes bytes) override {
    const absl::Status status = files_.Step();
    // Of a write that fails, the first half is there.
    const size_t size = status.ok() ? bytes.size() : bytes.size() / 2;
    node_->now.resize(std::max(node_->now.size(), offset + size));
    std::memcpy(node_->now.data() + offset, bytes.data(), size);
    return status;
  }
  absl::Status Sync() override {
    if (absl::Status status = files_.Step(); !status.ok()) return status;
    node_->synced = node_->now;
    return absl::OkStatus();
  }
  absl::Status Allocate(uint64_t size) override {
    if (absl::Status status = files_.Step(); !status.ok()) return status;
    node_->now.resize(std::max<size_t>(node_->now.size(), size));
    return absl::OkStatus();
  }
  absl::Status Truncate(uint64_t size) override {
    if (absl::Status status = files_.Step(); !status.ok()) return status;
    node_->now.resize(size);
    return absl::OkStatus();
  }
  absl::StatusOr<uint64_t> Size() const override { return node_->now.size(); }

 private:
  MemoryFiles& files_;
  const std::string path_;
  const std::shared_ptr<Node> node_;
};

}  // namespace

absl::Status MemoryFiles::Step() {
  if (failed_ && stays_dead_) return error_;
  if (countdown_ < 0 || countdown_-- > 0) return absl::OkStatus();
  failed_ = true;
  return error_;
}

void MemoryFiles::PowerCut(testing::Random& random) {
  Tree survivors;
  std::map<std::string, bool> paths;
  for (const auto& [path, node] : tree_) paths[path] = true;
  for (const auto& [path, node] : synced_) paths[path] = true;
  for (const auto& [path, unused] : paths) {
    const auto now = tree_.find(path);
    const auto synced = synced_.find(path);
    const bool keep_now = random() % 2 == 0;
    const auto chosen = keep_now ? now : synced;
    const bool there = keep_now ? now != tree_.end() : synced != synced_.end();
    const bool parent_there = Parent(path).empty() || survivors.contains(Parent(path));
    if (!there || !parent_there) continue;
    Node node = *chosen->second;
    const std::string newest = node.now;
    node.now = node.synced;
    if (random() % 2 == 0) {  // some of the newest bytes reached the disk
      const size_t size = random() % (newest.size() + 1);
      node.now.resize(std::max(node.now.size(), size));
      std::copy_n(newest.begin(), size, node.now.begin());
      if (node.synced == newest) node.now = newest;
    }
    node.synced = node.now;
    survivors[path] = std::make_shared<Node>(node);
  }
  tree_ = survivors;
  synced_ = survivors;
  countdown_ = -1;
  failed_ = false;
}

std::vector<std::string> MemoryFiles::Paths() const {
  std::vector<std::string> paths;
  for (const auto& [path, node] : tree_) {
    if (!node->folder) paths.push_back(path);
  }
  return paths;
}

absl::StatusOr<std::unique_ptr<File>> MemoryFiles::OpenOrCreate(const std::string& path) {
  if (absl::Status status = Step(); !status.ok()) return status;
  if (!tree_.contains(Parent(path))) return absl::NotFoundError(path + ": no such folder");
  std::shared_ptr<Node>& node = tree_[path];
  if (node == nullptr) node = std::make_shared<Node>();
  return std::make_unique<MemoryFile>(*this, path, node);
}

absl::StatusOr<std::unique_ptr<File>> MemoryFiles::Open(const std::string& path) {
  const auto found = tree_.find(path);
  if (found == tree_.end()) return absl::NotFoundError(path + ": no such file");
  return std::make_unique<MemoryFile>(*this, path, found->second);
}

absl::StatusOr<std::vector<std::string>> MemoryFiles::List(const std::string& folder) {
  if (!tree_.contains(folder)) return absl::NotFoundError(folder + ": no such folder");
  std::vector<std::string> names;
  for (const auto& [path, node] : tree_) {
    if (Parent(path) == folder) names.push_back(path.substr(folder.size() + 1));
  }
  return names;
}

absl::Status MemoryFiles::MakeFolder(const std::string& folder) {
  if (absl::Status status = Step(); !status.ok()) return status;
  for (std::string path = folder; !path.empty() && !tree_.contains(path); path = Parent(path)) {
    tree_[path] = std::make_shared<Node>(Node{.folder = true, .now = "", .synced = ""});
  }
  return absl::OkStatus();
}

absl::Status MemoryFiles::Rename(const std::string& from, const std::string& to) {
  if (absl::Status status = Step(); !status.ok()) return status;
  const auto found = tree_.find(from);
  if (found == tree_.end()) return absl::NotFoundError(from + ": no such file");
  tree_[to] = found->second;
  tree_.erase(found);
  return absl::OkStatus();
}

absl::Status MemoryFiles::Remove(const std::string& path) {
  if (absl::Status status = Step(); !status.ok()) return status;
  const auto found = tree_.find(path);
  if (found != tree_.end() && found->second->folder) return absl::FailedPreconditionError(path + ": is a folder");
  tree_.erase(path);
  return absl::OkStatus();
}

absl::Status MemoryFiles::SyncFolder(const std::string& folder) {
  if (absl::Status status = Step(); !status.ok()) return status;
  std::erase_if(synced_, [&](const auto& entry) { return Parent(entry.first) == folder; });
  for (const auto& [path, node] : tree_) {
    if (Parent(path) == folder) synced_[path] = node;
  }
  return absl::OkStatus();
}

}  // namespace lockstep::storage
