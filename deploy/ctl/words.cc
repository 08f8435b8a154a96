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

// Without escape sequences, which end with an 'm'.
size_t VisibleWidth(absl::string_view text) {
  size_t width = 0;
  bool escaped = false;
  for (const char c : text) {
    if (c == '\x1b') escaped = true;
    if (!escaped) ++width;
    if (c == 'm') escaped = false;
  }
  return width;
}

// "all 12 blocks", "3 of 12 blocks", "the only block"; without the noun if it has been said.
std::string FormatAmount(uint32_t count, uint32_t blocks, bool with_noun) {
  if (blocks == 1) return with_noun ? "the only block" : "the only one";
  const std::string amount = count == blocks ? absl::StrCat("all ", blocks) : absl::StrCat(count, " of ", blocks);
  return absl::StrCat(amount, with_noun ? " blocks" : "");
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

std::string FormatCount(uint64_t count, absl::string_view singular) {
  return absl::StrCat(FormatCount(count), " ", singular, count == 1 ? "" : "s");
}

std::string Wrap(absl::string_view text, size_t columns, size_t indent) {
  std::string wrapped;
  size_t column = 0;
  bool has_word = false;  // this line
  for (absl::string_view rest = text; !rest.empty();) {
    const size_t begin = std::min(rest.find_first_not_of(' '), rest.size());
    const size_t end = std::min(rest.find(' ', begin), rest.size());
    const absl::string_view word = rest.substr(begin, end - begin);
    const size_t width = VisibleWidth(word);
    if (has_word && column + begin + width > columns) {
      absl::StrAppend(&wrapped, "\n", std::string(indent, ' '));
      column = indent;
    } else {
      wrapped.append(begin, ' ');
      column += begin;
    }
    wrapped.append(word.data(), word.size());
    has_word = true;
    column += width;
    rest.remove_prefix(end);
  }
  return wrapped;
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
    const std::string amount = FormatAmount(counts.first, counts.second, /*with_noun=*/parts.empty());
    parts.push_back(absl::StrCat(amount, " on ", FormatRanges("shard", shards)));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace lockstep::ctl
