// Writing a shard's file, and the manifest.
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/storage/checkpoint.h"
#include "server/storage/checkpoint_chunks.h"
#include "server/storage/checkpoint_names.h"
#include "server/storage/checkpoint_plan.h"

namespace lockstep::storage {
namespace {

using internal::BlockRun;
using internal::ChunkHasher;
using internal::FilePlan;

Bytes BytesOf(absl::Span<const float> values) {
  return Bytes(reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float));
}

Bytes BytesOf(const std::string& text) { return Bytes(reinterpret_cast<const std::byte*>(text.data()), text.size()); }

absl::Status CheckIdentity(const CheckpointIdentity& identity, const BlockLayout& layout, ShardIndex shard) {
  if (identity.shards == layout.shards() && shard.value() < identity.shards) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("shard ", shard.value(), " of a layout for ", layout.shards(),
                                                 " shards asked to write a checkpoint of ", identity.shards));
}

// The arrays of a block, by section.
absl::StatusOr<std::vector<absl::Span<const float>>> SectionsOf(const BlockContents& contents, size_t sections,
                                                                int64_t elements) {
  std::vector<absl::Span<const float>> arrays = {contents.parameters};
  arrays.insert(arrays.end(), contents.state.begin(), contents.state.end());
  bool fits = arrays.size() == sections;
  for (absl::Span<const float> array : arrays) fits &= array.size() == static_cast<size_t>(elements);
  if (fits) return arrays;
  return absl::InternalError(absl::StrCat("a block to checkpoint came with ", arrays.size(), " arrays, the first of ",
                                          contents.parameters.size(), " elements; expected ", sections, " of ",
                                          elements));
}

// Writes one file according to its plan.
class ShardFileWriter {
 public:
  ShardFileWriter(File& file, FilePlan& plan, const BlockLayout& layout, ShardIndex shard, const ReadBlock& read)
      : file_(file), plan_(plan), layout_(layout), shard_(shard), read_(read) {}

  // Gives the checksum of the head, which is written last: it holds the checksums of what the blocks contain.
  absl::StatusOr<std::string> WriteAll() {
    if (absl::Status status = file_.Truncate(0); !status.ok()) return status;
    if (absl::Status status = file_.Allocate(plan_.file_bytes()); !status.ok()) return status;
    for (size_t run = 0; run < plan_.runs().size(); ++run) {
      if (absl::Status status = WriteRun(run); !status.ok()) return status;
    }
    const absl::StatusOr<std::string> head = plan_.Head();
    if (!head.ok()) return head.status();
    if (absl::Status status = file_.Write(0, BytesOf(*head)); !status.ok()) return status;
    if (absl::Status status = file_.Sync(); !status.ok()) return status;
    return internal::HeadChecksum(*head);
  }

 private:
  absl::Status WriteRun(size_t run) {
    const BlockRun& blocks = plan_.runs()[run];
    std::vector<ChunkHasher> hashers(plan_.sections());
    uint64_t written = 0;  // bytes of the run, in each section
    for (uint32_t slot = blocks.first_slot; slot < blocks.first_slot + blocks.slots; ++slot) {
      const Block& block = layout_.block(layout_.of_shard(shard_)[slot]);
      if (absl::Status status = WriteBlock(run, Slot(slot), block, written, hashers); !status.ok()) return status;
      written += block.bytes();
    }
    for (size_t s = 0; s < hashers.size(); ++s) plan_.SetChecksums(run, s, hashers[s].Finish());
    return absl::OkStatus();
  }

  absl::Status WriteBlock(size_t run, Slot slot, const Block& block, uint64_t written,
                          std::vector<ChunkHasher>& hashers) {
    BlockContents contents;
    if (absl::Status status = read_(slot, contents); !status.ok()) return status;
    const auto arrays = SectionsOf(contents, plan_.sections(), block.elements);
    if (!arrays.ok()) return arrays.status();
    for (size_t s = 0; s < arrays->size(); ++s) {
      hashers[s].Update((*arrays)[s]);
      absl::Status status = file_.WriteUncached(plan_.offset(run, s) + written, BytesOf((*arrays)[s]));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  File& file_;
  FilePlan& plan_;
  const BlockLayout& layout_;
  const ShardIndex shard_;
  const ReadBlock& read_;
};

}  // namespace

absl::StatusOr<CheckpointFile> WriteShardCheckpoint(FileSystem& files, const std::string& folder,
                                                    const CheckpointIdentity& identity, const ModelSpec& model,
                                                    const BlockLayout& layout, ShardIndex shard,
                                                    const ReadBlock& read) {
  if (absl::Status status = CheckIdentity(identity, layout, shard); !status.ok()) return status;
  absl::StatusOr<FilePlan> plan = FilePlan::Create(identity, model, layout, shard);
  if (!plan.ok()) return plan.status();
  const std::string version_folder = absl::StrCat(folder, "/", internal::VersionFolderName(identity.version));
  const std::string name = internal::ShardFileName(shard, identity.shards);
  RemoveTemporaryFiles(files, folder, name).IgnoreError();  // if it is the space that lacks, that is told below
  if (absl::Status status = files.MakeFolder(version_folder); !status.ok()) return status;
  CheckpointFile result{.shard = shard, .name = name, .bytes = plan->file_bytes(), .head_xxh3_128 = ""};
  const std::string path = absl::StrCat(version_folder, "/", result.name);
  const std::string temporary = internal::TemporaryName(path);
  absl::StatusOr<std::unique_ptr<File>> file = files.OpenOrCreate(temporary);
  if (!file.ok()) return file.status();
  absl::StatusOr<std::string> checksum = ShardFileWriter(**file, *plan, layout, shard, read).WriteAll();
  absl::Status status = checksum.status();
  if (status.ok()) status = files.Rename(temporary, path);
  if (!status.ok()) {
    files.Remove(temporary).IgnoreError();  // what failed before says more
    return status;
  }
  if (status = files.SyncFolder(version_folder); !status.ok()) return status;
  if (status = files.SyncFolder(folder); !status.ok()) return status;
  result.head_xxh3_128 = *std::move(checksum);
  return result;
}

absl::Status WriteManifest(FileSystem& files, const std::string& folder, const Manifest& manifest) {
  const absl::StatusOr<std::string> text = EncodeManifest(manifest);
  if (!text.ok()) return text.status();
  const std::string version_folder = absl::StrCat(folder, "/", internal::VersionFolderName(manifest.identity.version));
  if (absl::Status status = files.MakeFolder(version_folder); !status.ok()) return status;
  if (absl::Status status = files.SyncFolder(folder); !status.ok()) return status;
  return ReplaceFile(files, absl::StrCat(version_folder, "/", internal::kManifestName), BytesOf(*text));
}

}  // namespace lockstep::storage
