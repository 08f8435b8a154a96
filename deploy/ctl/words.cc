#include "deploy/ctl/words.h"

#include <algorithm>
#include <array>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace lockstep::ctl {
namespace {

// A newer server may know states that this program does not.
std::string NameOrNumber(absl::string_view name, int number) {
  return name.empty() ? absl::StrCat("state_", number) : absl::AsciiStrToLower(name);
}

std::string TwoUnits(int64_t total, int64_t unit, absl::string_view big, int64_t rest_unit, absl::string_view small) {
  return absl::StrFormat("%d %s %d %s", total / unit, big, total % unit / rest_unit, small);
}

std::string FormatRange(uint32_t first, uint32_t last) {
  return first == last ? absl::StrCat(first) : absl::StrCat(first, "-", last);
}

}  // namespace

std::string StateName(v1::Status::State state) { return NameOrNumber(v1::Status::State_Name(state), state); }

std::string StateName(v1::WorkerStatus::State state) {
  return NameOrNumber(v1::WorkerStatus::State_Name(state), state);
}

std::string StateName(v1::ShardStatus::State state) { return NameOrNumber(v1::ShardStatus::State_Name(state), state); }

std::string StateWords(v1::Status::State state) { return absl::StrReplaceAll(StateName(state), {{"_", " "}}); }

std::string FormatSeconds(double seconds) {
  constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
  if (!(seconds > 0)) return "0 s";
  if (seconds < 0.01) return absl::StrFormat("%.1f ms", seconds * 1e3);
  if (seconds < 0.9995) return absl::StrFormat("%.0f ms", seconds * 1e3);
  if (seconds < 9.95) return absl::StrFormat("%.1f s", seconds);
  if (seconds < 59.5) return absl::StrFormat("%.0f s", seconds);
  const auto whole = static_cast<int64_t>(std::min(seconds + 0.5, 1e15));
  if (whole < kHour) return TwoUnits(whole, kMinute, "m", 1, "s");
  if (whole < kDay) return TwoUnits(whole, kHour, "h", kMinute, "m");
  return TwoUnits(whole, kDay, "d", kHour, "h");
}

std::string FormatBytes(uint64_t bytes) {
  constexpr std::array<absl::string_view, 5> kUnits = {"KB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return absl::StrFormat(value < 9.95 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
}

std::string FormatCount(uint64_t count) {
  std::string digits = absl::StrCat(count);
  for (int place = static_cast<int>(digits.size()) - 3; place > 0; place -= 3) {
    digits.insert(static_cast<size_t>(place), 1, ',');
  }
  return digits;
}

std::string FormatRanges(std::vector<uint32_t> numbers) {
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  std::vector<std::string> ranges;
  for (size_t first = 0, next = 0; first < numbers.size(); first = next) {
    next = first + 1;
    while (next < numbers.size() && numbers[next] == numbers[next - 1] + 1) ++next;
    ranges.push_back(FormatRange(numbers[first], numbers[next - 1]));
  }
  return absl::StrJoin(ranges, ", ");
}

std::string FormatRanges(absl::string_view singular, const std::vector<uint32_t>& numbers) {
  return absl::StrCat(singular, numbers.size() == 1 ? " " : "s ", FormatRanges(numbers));
}

std::string FormatVersion(const v1::Status& status) {
  return status.has_version() ? absl::StrCat(status.version()) : "-";
}

std::string FormatVersion(const v1::ShardStatus& shard) {
  return shard.has_version() ? absl::StrCat(shard.version()) : "-";
}

std::string FormatMissing(const google::protobuf::RepeatedPtrField<v1::MissingOnShard>& missing) {
  std::map<std::pair<uint32_t, uint32_t>, std::vector<uint32_t>> shards_by_counts;
  for (const v1::MissingOnShard& m : missing) {
    if (m.missing_blocks() == 0) continue;
    shards_by_counts[{m.missing_blocks(), m.blocks()}].push_back(m.shard());
  }
  std::vector<std::string> parts;
  for (const auto& [counts, shards] : shards_by_counts) {
    const auto [count, blocks] = counts;
    const std::string amount = count == blocks ? absl::StrCat("all ", blocks) : absl::StrCat(count, " of ", blocks);
    parts.push_back(absl::StrCat(amount, parts.empty() ? " blocks on " : " on ", FormatRanges("shard", shards)));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace lockstep::ctl
