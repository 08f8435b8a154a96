#include "deploy/ctl/table.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace lockstep::ctl {
namespace {

std::string Pad(const std::string& text, size_t width, Align align) {
  const std::string spaces(width - std::min(width, text.size()), ' ');
  return align == Align::kLeft ? text + spaces : spaces + text;
}

}  // namespace

void Table::Add(std::vector<std::string> cells, Colour colour) {
  cells.resize(columns_.size());
  rows_.push_back({std::move(cells), colour});
}

std::string Table::ToString(const Paint& paint) const {
  const std::vector<size_t> widths = Widths();
  Row titles{{}, Colour::kDim};
  for (const Column& column : columns_) titles.cells.push_back(column.title);
  std::string text = Line(titles, widths, paint);
  for (const Row& row : rows_) text += Line(row, widths, paint);
  return text;
}

std::vector<size_t> Table::Widths() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = columns_[i].title.size();
    for (const Row& row : rows_) width = std::max(width, row.cells[i].size());
    widths.push_back(width);
  }
  return widths;
}

std::string Table::Line(const Row& row, const std::vector<size_t>& widths, const Paint& paint) const {
  std::string line;
  for (size_t i = 0; i < columns_.size(); ++i) {
    absl::StrAppend(&line, i == 0 ? "" : "  ", Pad(row.cells[i], widths[i], columns_[i].align));
  }
  return paint(row.colour, absl::StripTrailingAsciiWhitespace(line)) + "\n";
}

}  // namespace lockstep::ctl
