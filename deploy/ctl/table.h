// Lines up cells in columns.
//
//   Table table({{"RANK", Align::kRight}, {"NAME", Align::kLeft}});
//   table.Add({"3", "worker-3"}, Colour::kBad);
//   std::cout << table.ToString(paint);
//
// Thread-safety: none.
#ifndef LOCKSTEP_DEPLOY_CTL_TABLE_H_
#define LOCKSTEP_DEPLOY_CTL_TABLE_H_

#include <string>
#include <vector>

#include "deploy/ctl/paint.h"

namespace lockstep::ctl {

enum class Align { kLeft, kRight };

class Table {
 public:
  struct Column {
    std::string title;
    Align align;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Missing cells at the end are empty; more cells than columns are not shown.
  void Add(std::vector<std::string> cells, Colour colour = Colour::kNone);

  // The titles, then a line for each row, each ended by a newline and without spaces before it.
  std::string ToString(const Paint& paint) const;

 private:
  struct Row {
    std::vector<std::string> cells;
    Colour colour;
  };

  std::vector<size_t> Widths() const;
  std::string Line(const Row& row, const std::vector<size_t>& widths, const Paint& paint) const;

  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_TABLE_H_
