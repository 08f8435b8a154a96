// Comma-separated numbers as labelled samples.
//
//   feature,feature,...,label       one sample a line; no quoting
//
// A first line without any number in it is a heading, and skipped, as are empty lines. Features are
// finite decimal numbers, labels whole numbers from 0. Each column is scaled to [0, 1] by its
// smallest and largest value; a column that never changes becomes 0.
#ifndef WORKER_TRAINER_CSV_H_
#define WORKER_TRAINER_CSV_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/trainer/split.h"

namespace lockstep::trainer {

// Parses the text of a CSV file; `file` is its name in messages. DataLoss, with line and column,
// on a cell that isn't a finite number, a row with another number of cells than the first, a label
// that isn't a whole number in 0..max_classes-1; DataLoss also when there are no rows.
absl::StatusOr<Split> ParseCsv(absl::string_view text, absl::string_view file, int max_classes);

// The same of a file, gzipped or plain. Errors: those of ReadInputFile too.
absl::StatusOr<Split> ReadCsv(const std::string& path, int max_classes);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_CSV_H_
