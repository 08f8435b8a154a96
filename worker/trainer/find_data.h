// Where data sets lie on this machine.
#ifndef WORKER_TRAINER_FIND_DATA_H_
#define WORKER_TRAINER_FIND_DATA_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::trainer {

// The directory with Fashion-MNIST's four files: $LOCKSTEP_DATASET_DIR/fashion-mnist if that exists,
// else that of Debian's package. NotFound with the apt-get line when it isn't installed.
absl::StatusOr<std::string> FindFashionMnist();

// digits.csv.gz: in $LOCKSTEP_DATASET_DIR, beside the binary (data/), in Bazel's runfiles, in
// worker/trainer/data of the working directory or of a folder above the binary, or in
// /usr/share/lockstep. NotFound lists the places.
absl::StatusOr<std::string> FindDigits();

// `directory`/`stem`, under one of the names that are in use for IDX files: train-images-idx3-ubyte
// or train-images.idx3-ubyte, plain or .gz. `kind` is "idx3" or "idx1". NotFound lists the names.
absl::StatusOr<std::string> FindIdxFile(const std::string& directory, const std::string& stem, const std::string& kind);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_FIND_DATA_H_
