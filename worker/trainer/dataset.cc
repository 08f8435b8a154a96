#include "worker/trainer/dataset.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "worker/trainer/csv.h"
#include "worker/trainer/find_data.h"
#include "worker/trainer/idx.h"
#include "worker/trainer/permutation.h"

namespace lockstep::trainer {
namespace {

constexpr uint64_t kSplitKey = 0x10c57e9;  // Fixed for ever: another key would be another test set.
constexpr int kNamedSetClasses = 10;

int CountClasses(const std::vector<int32_t>& labels) { return *std::max_element(labels.begin(), labels.end()) + 1; }

Split Take(const Split& all, absl::Span<const uint32_t> indices) {
  Split part;
  part.samples = indices.size();
  part.features = all.features;
  Gather(all, indices, part.x, part.labels);
  return part;
}

absl::StatusOr<Split> ReadIdxPart(const std::string& directory, const std::string& part, int max_classes) {
  absl::StatusOr<std::string> images = FindIdxFile(directory, part + "-images", "idx3");
  if (!images.ok()) return images.status();
  absl::StatusOr<std::string> labels = FindIdxFile(directory, part + "-labels", "idx1");
  if (!labels.ok()) return labels.status();
  return ReadIdxPair(*images, *labels, max_classes);
}

absl::StatusOr<Dataset> LoadIdxDirectory(const std::string& directory, std::string name, int max_classes) {
  absl::StatusOr<Split> train = ReadIdxPart(directory, "train", max_classes);
  if (!train.ok()) return train.status();
  // A label that training has never seen is damage: the model would have no output for it.
  const int classes = CountClasses(train->labels);
  absl::StatusOr<Split> test = ReadIdxPart(directory, "t10k", classes);
  if (!test.ok()) return test.status();
  if (train->features != test->features) {
    return absl::DataLossError(absl::StrCat(directory, ": training images have ", train->features,
                                            " pixels, but test images have ", test->features));
  }
  return Dataset{*std::move(train), *std::move(test), classes, std::move(name)};
}

absl::StatusOr<Dataset> SplitIfOk(const absl::StatusOr<Split>& all, std::string name) {
  if (!all.ok()) return all.status();
  return SplitForTest(*all, std::move(name));
}

absl::StatusOr<Dataset> LoadFashionMnist() {
  absl::StatusOr<std::string> directory = FindFashionMnist();
  if (!directory.ok()) return directory.status();
  return LoadIdxDirectory(*directory, "fashion-mnist", kNamedSetClasses);
}

absl::StatusOr<Dataset> LoadDigits() {
  absl::StatusOr<std::string> path = FindDigits();
  if (!path.ok()) return path.status();
  return SplitIfOk(ReadCsv(*path, kNamedSetClasses), "digits");
}

bool IsDirectory(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

absl::StatusOr<Dataset> LoadPath(const std::string& path) {
  if (IsDirectory(path)) return LoadIdxDirectory(path, path, kMaxClasses);
  if (absl::EndsWith(path, ".csv") || absl::EndsWith(path, ".csv.gz")) {
    return SplitIfOk(ReadCsv(path, kMaxClasses), path);
  }
  const std::vector<std::string> pair = absl::StrSplit(path, ',');
  if (pair.size() == 2) return SplitIfOk(ReadIdxPair(pair[0], pair[1], kMaxClasses), path);
  return absl::InvalidArgumentError(absl::StrCat("data set '", path,
                                                 "': expected fashion-mnist, digits, a directory with IDX files, ",
                                                 "a .csv or .csv.gz file, or IMAGES,LABELS (two IDX files)"));
}

}  // namespace

absl::StatusOr<Dataset> SplitForTest(const Split& all, std::string name) {
  if (all.samples < 2 || all.samples > UINT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", all.samples, " samples; a training and a test set need 2 to ", UINT32_MAX));
  }
  const Permutation order(kSplitKey, static_cast<uint32_t>(all.samples));
  const uint32_t tests = std::max<uint32_t>(1, order.size() / 5);
  std::vector<uint32_t> indices(order.size());
  for (uint32_t i = 0; i < order.size(); ++i) indices[i] = order(i);
  const auto chosen = absl::MakeConstSpan(indices);

  return Dataset{Take(all, chosen.subspan(tests)), Take(all, chosen.first(tests)), CountClasses(all.labels),
                 std::move(name)};
}

absl::StatusOr<Dataset> LoadDataset(const std::string& name_or_path) {
  if (name_or_path == "fashion-mnist") return LoadFashionMnist();
  if (name_or_path == "digits") return LoadDigits();
  return LoadPath(name_or_path);
}

}  // namespace lockstep::trainer
