#include "server/storage/checkpoint_names.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace lockstep::storage::internal {
namespace {

constexpr absl::string_view kVersionPrefix = "version-";

}  // namespace

std::string VersionFolderName(Version version) { return absl::StrFormat("%s%010d", kVersionPrefix, version.value()); }

std::optional<Version> ParseVersionFolderName(absl::string_view name) {
  uint64_t number = 0;
  absl::string_view digits = name;
  if (!absl::ConsumePrefix(&digits, kVersionPrefix) || !absl::SimpleAtoi(digits, &number)) return std::nullopt;
  if (VersionFolderName(Version(number)) != name) return std::nullopt;
  return Version(number);
}

std::string ShardFileName(ShardIndex shard, uint32_t shards) {
  return absl::StrCat("shard-", shard.value(), "-of-", shards, ".safetensors");
}

std::string TemporaryName(const std::string& file) { return absl::StrCat(file, ".tmp"); }

std::vector<std::string> Sections(compute::OptimizerKind optimizer) {
  std::vector<std::string> sections = {"parameters"};
  for (absl::string_view state : compute::StateSlotNames(optimizer)) {
    sections.push_back(absl::StrCat("optimizer/", state));
  }
  return sections;
}

std::string ToString(const PartName& part, const std::vector<std::string>& sections) {
  const std::string first = part.first ? absl::StrCat("@", *part.first) : "";
  return absl::StrCat(sections[part.section], first, "/", part.tensor);
}

std::optional<PartName> ParsePartName(absl::string_view text, const std::vector<std::string>& sections) {
  for (size_t s = 0; s < sections.size(); ++s) {
    PartName part{.section = s, .tensor = "", .first = std::nullopt};
    absl::string_view rest = text;
    if (!absl::ConsumePrefix(&rest, sections[s])) continue;
    if (absl::ConsumePrefix(&rest, "@")) {
      const size_t slash = rest.find('/');
      int64_t first = 0;
      if (slash == rest.npos || !absl::SimpleAtoi(rest.substr(0, slash), &first) || first < 0) continue;
      part.first = first;
      rest.remove_prefix(slash);
    }
    if (!absl::ConsumePrefix(&rest, "/")) continue;
    part.tensor = std::string(rest);
    if (ToString(part, sections) == text) return part;
  }
  return std::nullopt;
}

}  // namespace lockstep::storage::internal
