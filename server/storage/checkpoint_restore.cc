// Reading what a shard needs out of a checkpoint, or out of a plain file of tensors.
#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/safetensors/format.h"
#include "common/safetensors/header_reader.h"
#include "server/storage/checkpoint.h"
#include "server/storage/checkpoint_file.h"
#include "server/storage/checkpoint_names.h"
#include "server/storage/checkpoint_reader.h"

namespace lockstep::storage {
namespace {

using safetensors::TensorInfo;
using safetensors::internal::Header;

// Calls `read` for the elements of each section of each block of the shard, then `store`.
absl::Status RestoreBlocks(const BlockLayout& layout, ShardIndex shard, size_t sections, const StoreBlock& store,
                           const std::function<absl::Status(size_t section, const Block&, absl::Span<float>)>& read) {
  std::vector<std::vector<float>> arrays(sections);
  for (BlockIndex index : layout.of_shard(shard)) {
    const Block& block = layout.block(index);
    for (size_t s = 0; s < sections; ++s) {
      arrays[s].resize(static_cast<size_t>(block.elements));
      if (absl::Status status = read(s, block, absl::MakeSpan(arrays[s])); !status.ok()) return status;
    }
    BlockContents contents{.parameters = arrays[0], .state = {}};
    for (size_t s = 1; s < sections; ++s) contents.state.push_back(arrays[s]);
    if (absl::Status status = store(block.slot, contents); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckSameOptimizer(const std::string& folder, compute::OptimizerKind expected,
                                compute::OptimizerKind actual) {
  if (expected == actual) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(folder, ": the checkpoint is of a run with the optimizer ",
                                                 compute::OptimizerKindName(actual), ", but this run uses ",
                                                 compute::OptimizerKindName(expected)));
}

std::string Describe(const TensorInfo& tensor) {
  return absl::StrCat(tensor.dtype, " ", safetensors::internal::ShapeJson(tensor.shape));
}

absl::Status Mismatch(const std::string& path, const TensorSpec& expected, absl::string_view found) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": does not match the run's model: ", ToString(expected), " is expected, ", found));
}

absl::StatusOr<Header> ReadPlainHeader(const File& file) {
  const absl::StatusOr<uint64_t> size = file.Size();
  if (!size.ok()) return size.status();
  const absl::StatusOr<std::string> text = internal::ReadHeaderText(file, *size);
  if (!text.ok()) return text.status();
  return safetensors::internal::ReadHeader(file.path(), *text, *size);
}

// Where the tensors of the model begin in the file, in the model's order.
absl::StatusOr<std::vector<uint64_t>> FindTensors(const std::string& path, const Header& header,
                                                  const ModelSpec& model) {
  std::map<std::string, const TensorInfo*> found;
  for (const TensorInfo& tensor : header.tensors) found[tensor.name] = &tensor;
  std::vector<uint64_t> offsets;
  for (const TensorSpec& tensor : model.tensors) {
    const auto entry = found.find(tensor.name);
    if (entry == found.end()) return Mismatch(path, tensor, "but the file has no tensor of that name");
    const TensorInfo& info = *entry->second;
    if (info.dtype != "F32" || info.shape != tensor.shape) {
      return Mismatch(path, tensor, absl::StrCat("but the file has ", Describe(info)));
    }
    offsets.push_back(info.offset);
    found.erase(entry);
  }
  if (found.empty()) return offsets;
  return absl::InvalidArgumentError(absl::StrCat(path, ": does not match the run's model: the file has ",
                                                 Describe(*found.begin()->second), " '",
                                                 absl::CHexEscape(found.begin()->first), "', which the model has not"));
}

}  // namespace

absl::Status RestoreShard(FileSystem& files, const std::string& folder, const Manifest& manifest,
                          const ModelSpec& model, const BlockLayout& layout, ShardIndex shard,
                          compute::OptimizerKind optimizer, const StoreBlock& store) {
  const std::string version_folder = absl::StrCat(folder, "/", internal::VersionFolderName(manifest.identity.version));
  if (absl::Status same = CheckSameModel(model, manifest.model); !same.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(version_folder, ": ", same.message()));
  }
  absl::Status same = CheckSameOptimizer(version_folder, optimizer, manifest.identity.optimizer);
  if (!same.ok()) return same;
  absl::StatusOr<internal::CheckpointReader> reader = internal::CheckpointReader::Open(files, version_folder, manifest);
  if (!reader.ok()) return reader.status();
  return RestoreBlocks(layout, shard, reader->sections(), store,
                       [&](size_t section, const Block& block, absl::Span<float> into) {
                         return reader->Read(section, block.tensor, block.offset, into);
                       });
}

absl::Status RestoreOwnFile(FileSystem& files, const std::string& folder, const Manifest& manifest,
                            const BlockLayout& layout, ShardIndex shard, const StoreBlock& store) {
  const std::string version_folder = absl::StrCat(folder, "/", internal::VersionFolderName(manifest.identity.version));
  absl::StatusOr<internal::CheckpointReader> reader =
      internal::CheckpointReader::Open(files, version_folder, manifest, internal::CheckpointReader::Coverage::kPart);
  if (!reader.ok()) return reader.status();
  return RestoreBlocks(layout, shard, reader->sections(), store,
                       [&](size_t section, const Block& block, absl::Span<float> into) {
                         return reader->Read(section, block.tensor, block.offset, into);
                       });
}

absl::Status CheckPlain(FileSystem& files, const std::string& path) {
  const absl::StatusOr<std::unique_ptr<File>> file = files.Open(path);
  if (!file.ok()) return file.status();
  const absl::StatusOr<Header> header = ReadPlainHeader(**file);
  if (!header.ok()) return header.status();
  for (const TensorInfo& tensor : header->tensors) {
    if (tensor.dtype == "F32") continue;
    return absl::InvalidArgumentError(absl::StrCat(path, ": tensor '", absl::CHexEscape(tensor.name), "' is ",
                                                   Describe(tensor), ", but models are F32 here: convert it"));
  }
  return absl::OkStatus();
}

absl::Status RestoreFromPlain(FileSystem& files, const std::string& path, const ModelSpec& model,
                              const BlockLayout& layout, ShardIndex shard, const StoreBlock& store) {
  const absl::StatusOr<std::unique_ptr<File>> file = files.Open(path);
  if (!file.ok()) return file.status();
  const absl::StatusOr<Header> header = ReadPlainHeader(**file);
  if (!header.ok()) return header.status();
  const absl::StatusOr<std::vector<uint64_t>> offsets = FindTensors(path, *header, model);
  if (!offsets.ok()) return offsets.status();
  return RestoreBlocks(layout, shard, 1, store, [&](size_t, const Block& block, absl::Span<float> into) {
    const uint64_t offset = (*offsets)[block.tensor] + static_cast<uint64_t>(block.offset) * sizeof(float);
    return (*file)->Read(offset, MutableBytes(reinterpret_cast<std::byte*>(into.data()), block.bytes()));
  });
}

}  // namespace lockstep::storage
