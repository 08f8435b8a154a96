#include "worker/trainer/find_data.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace lockstep::trainer {
namespace {

constexpr char kFashionMnist[] = "/usr/share/datasets/fashion-mnist";
constexpr char kDigitsInTree[] = "worker/trainer/data/digits.csv.gz";

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The first of `candidates` that exists, or NotFound with `advice`.
absl::StatusOr<std::string> FirstExisting(const std::vector<std::string>& candidates, absl::string_view what,
                                          absl::string_view advice) {
  for (const std::string& path : candidates) {
    if (Exists(path)) return path;
  }
  return absl::NotFoundError(absl::StrCat(what, " not found, looked for ", absl::StrJoin(candidates, ", "), advice));
}

std::filesystem::path Binary() {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/exe", ignored);
}

void AddPlacesNearBinary(std::vector<std::string>& candidates) {
  const std::filesystem::path binary = Binary();
  if (binary.empty()) return;
  candidates.push_back(binary.parent_path() / "data/digits.csv.gz");
  candidates.push_back(binary.string() + ".runfiles/lockstep/" + kDigitsInTree);
  for (auto folder = binary.parent_path(); folder != folder.root_path(); folder = folder.parent_path()) {
    if (const std::string path = folder / kDigitsInTree; Exists(path)) candidates.push_back(path);
  }
}

}  // namespace

absl::StatusOr<std::string> FindFashionMnist() {
  std::vector<std::string> candidates;
  if (const std::string data = Environment("LOCKSTEP_DATASET_DIR"); !data.empty()) {
    candidates.push_back(absl::StrCat(data, "/fashion-mnist"));
  }
  candidates.push_back(kFashionMnist);
  return FirstExisting(candidates, "fashion-mnist", "; install it: apt-get install dataset-fashion-mnist");
}

absl::StatusOr<std::string> FindDigits() {
  std::vector<std::string> candidates;
  if (const std::string data = Environment("LOCKSTEP_DATASET_DIR"); !data.empty()) {
    candidates.push_back(absl::StrCat(data, "/digits.csv.gz"));
  }
  if (const std::string runfiles = Environment("TEST_SRCDIR"); !runfiles.empty()) {
    candidates.push_back(absl::StrCat(runfiles, "/lockstep/", kDigitsInTree));
  }
  AddPlacesNearBinary(candidates);
  candidates.push_back(kDigitsInTree);
  candidates.push_back("/usr/share/lockstep/digits.csv.gz");
  return FirstExisting(candidates, "digits.csv.gz", "; set LOCKSTEP_DATASET_DIR to the folder that holds it");
}

absl::StatusOr<std::string> FindIdxFile(const std::string& directory, const std::string& stem,
                                        const std::string& kind) {
  const std::string start = absl::StrCat(directory, "/", stem);
  const std::string end = absl::StrCat(kind, "-ubyte");
  return FirstExisting({absl::StrCat(start, "-", end, ".gz"), absl::StrCat(start, "-", end),
                        absl::StrCat(start, ".", end, ".gz"), absl::StrCat(start, ".", end)},
                       stem, "; a data set's directory needs train- and t10k- images and labels");
}

}  // namespace lockstep::trainer
