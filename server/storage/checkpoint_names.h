// What the folders, files and tensors of checkpoints are called: see checkpoint.h.
//
// Thread-safety: pure functions.
#ifndef LOCKSTEP_SERVER_STORAGE_CHECKPOINT_NAMES_H_
#define LOCKSTEP_SERVER_STORAGE_CHECKPOINT_NAMES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/ids.h"
#include "server/compute/optimizer_options.h"

namespace lockstep::storage::internal {

inline constexpr absl::string_view kManifestName = "manifest.json";

// "version-0000000120"; sorted by name they are sorted by version, up to ten digits.
std::string VersionFolderName(Version version);
// Nothing for any other name than VersionFolderName gives.
std::optional<Version> ParseVersionFolderName(absl::string_view name);

// "shard-0-of-2.safetensors"
std::string ShardFileName(ShardIndex shard, uint32_t shards);
// What the file is called until it is whole.
std::string TemporaryName(const std::string& file);

// The arrays that a checkpoint keeps for every element of the model: "parameters", then "optimizer/STATE" for each slot
// of the optimizer's state.
std::vector<std::string> Sections(compute::OptimizerKind optimizer);

// A run of elements of one tensor of the model in one section.
struct PartName {
  size_t section = 0;  // index in Sections
  std::string tensor;
  std::optional<int64_t> first;  // of its elements; nothing: the part is the whole tensor, in its shape

  friend bool operator==(const PartName&, const PartName&) = default;
};

// "parameters/NAME", "parameters@FIRST/NAME". The tensor's name comes last and may contain anything, slashes included,
// so that no two parts ever have the same name.
std::string ToString(const PartName& part, const std::vector<std::string>& sections);
// Nothing for any other text than ToString gives.
std::optional<PartName> ParsePartName(absl::string_view text, const std::vector<std::string>& sections);

}  // namespace lockstep::storage::internal

#endif  // LOCKSTEP_SERVER_STORAGE_CHECKPOINT_NAMES_H_
