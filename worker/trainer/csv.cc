#include "worker/trainer/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "worker/trainer/input_file.h"

namespace lockstep::trainer {
namespace {

constexpr size_t kQuotedBytes = 40;  // How much of a bad cell a message shows.

// The whole of `text`, blanks around it aside, as a number of type T; nothing when it isn't one.
template <typename T>
std::optional<T> ParseNumber(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || text.empty()) return std::nullopt;
  return value;
}

bool IsHeading(absl::string_view line) {
  const std::vector<absl::string_view> cells = absl::StrSplit(line, ',');
  return std::none_of(cells.begin(), cells.end(),
                      [](absl::string_view cell) { return ParseNumber<float>(cell).has_value(); });
}

// Builds a Split line by line.
class CsvParser {
 public:
  CsvParser(absl::string_view file, int max_classes) : file_(file), max_classes_(max_classes) {}

  absl::Status AddLine(absl::string_view line) {
    ++line_number_;
    if (absl::StripAsciiWhitespace(line).empty()) return absl::OkStatus();
    if (line_number_ == 1 && IsHeading(line)) return absl::OkStatus();
    cells_ = absl::StrSplit(line, ',');
    if (auto status = CheckWidth(); !status.ok()) return status;
    for (size_t column = 0; column + 1 < cells_.size(); ++column) {
      if (auto status = AddFeature(column); !status.ok()) return status;
    }
    return AddLabel();
  }

  absl::StatusOr<Split> Finish() && {
    if (split_.labels.empty()) {
      return absl::DataLossError(absl::StrCat(file_, ": no rows; expected features,...,label"));
    }
    split_.samples = split_.labels.size();
    return std::move(split_);
  }

 private:
  absl::Status Damaged(size_t column, absl::string_view what) const {
    return absl::DataLossError(absl::StrCat(file_, ": line ", line_number_, ", column ", column + 1, ": ", what));
  }

  std::string Quoted(size_t column) const {
    return absl::StrCat("'", absl::CHexEscape(cells_[column].substr(0, kQuotedBytes)), "'");
  }

  absl::Status CheckWidth() {
    if (split_.labels.empty()) split_.features = cells_.size() - 1;
    if (split_.features == 0) return Damaged(0, "one cell: expected features,...,label");
    if (cells_.size() == split_.features + 1) return absl::OkStatus();
    return Damaged(std::min(cells_.size(), split_.features + 1) - 1,
                   absl::StrCat(cells_.size(), " cells in this row, but ", split_.features + 1,
                                " in the first: cells lost or added"));
  }

  absl::Status AddFeature(size_t column) {
    const std::optional<float> value = ParseNumber<float>(cells_[column]);
    if (!value.has_value() || !std::isfinite(*value)) {
      return Damaged(column, absl::StrCat("expected a finite number, found ", Quoted(column)));
    }
    split_.x.push_back(*value);
    return absl::OkStatus();
  }

  absl::Status AddLabel() {
    const std::optional<int32_t> label = ParseNumber<int32_t>(cells_.back());
    if (!label.has_value() || *label < 0 || *label >= max_classes_) {
      return Damaged(cells_.size() - 1, absl::StrCat("expected a label, a whole number in 0..", max_classes_ - 1,
                                                     ", found ", Quoted(cells_.size() - 1)));
    }
    split_.labels.push_back(*label);
    return absl::OkStatus();
  }

  const absl::string_view file_;
  const int max_classes_;
  size_t line_number_ = 0;
  std::vector<absl::string_view> cells_;
  Split split_;
};

// In double, where the difference of two floats can't overflow.
void ScaleColumn(Split& split, size_t column) {
  double low = split.x[column];
  double high = low;
  for (size_t i = column; i < split.x.size(); i += split.features) {
    low = std::min<double>(low, split.x[i]);
    high = std::max<double>(high, split.x[i]);
  }
  const double range = high > low ? high - low : 1.0;
  for (size_t i = column; i < split.x.size(); i += split.features) {
    split.x[i] = static_cast<float>((split.x[i] - low) / range);
  }
}

}  // namespace

absl::StatusOr<Split> ParseCsv(absl::string_view text, absl::string_view file, int max_classes) {
  CsvParser parser(file, max_classes);
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (auto status = parser.AddLine(line); !status.ok()) return status;
  }
  absl::StatusOr<Split> split = std::move(parser).Finish();
  if (!split.ok()) return split;
  for (size_t column = 0; column < split->features; ++column) ScaleColumn(*split, column);
  return split;
}

absl::StatusOr<Split> ReadCsv(const std::string& path, int max_classes) {
  absl::StatusOr<std::string> text = ReadInputFile(path);
  if (!text.ok()) return text.status();
  return ParseCsv(*text, path, max_classes);
}

}  // namespace lockstep::trainer
