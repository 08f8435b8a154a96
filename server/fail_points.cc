#include "server/fail_points.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace lockstep {

std::vector<std::string> FailPointNames() {
  std::vector<std::string> names;
  for (absl::string_view name : storage::kJournalFailPoints) names.emplace_back(name);
  for (absl::string_view name : storage::kOtherFailPoints) names.emplace_back(name);
  return names;
}

absl::StatusOr<storage::FailPoint> MakeFailPoint(absl::string_view spec) {
  if (spec.empty()) return storage::FailPoint();
  const std::pair<std::string, std::string> parts = absl::StrSplit(spec, absl::MaxSplits('@', 1));
  uint64_t times = 1;
  const std::vector<std::string> names = FailPointNames();
  const bool known = std::find(names.begin(), names.end(), parts.first) != names.end();
  const bool counted = parts.second.empty() || (absl::SimpleAtoi(parts.second, &times) && times > 0);
  if (!known || !counted) {
    return absl::InvalidArgumentError(
        absl::StrCat("--fail-point: expected NAME@N with a NAME of --list-fail-points and a "
                     "positive N, but got '",
                     spec, "'"));
  }
  auto left = std::make_shared<std::atomic<uint64_t>>(times);
  return storage::FailPoint([name = parts.first, left](absl::string_view place) {
    if (place == name && left->fetch_sub(1) == 1) raise(SIGKILL);
  });
}

}  // namespace lockstep
