// Data sets by name or path.
//
//   absl::StatusOr<Dataset> data = LoadDataset("fashion-mnist");
#ifndef WORKER_TRAINER_DATASET_H_
#define WORKER_TRAINER_DATASET_H_

#include <string>

#include "absl/status/statusor.h"
#include "worker/trainer/split.h"

namespace lockstep::trainer {

// Labels of user files must be below this, so that one damaged cell can't ask for a huge model.
inline constexpr int kMaxClasses = 1024;

// Owns its samples. train and test have the same number of features.
struct Dataset {
  Split train;
  Split test;
  int classes = 0;  // Largest label + 1.
  std::string name;
};

// Loads the whole data set into memory (Fashion-MNIST: 220 MB as fp32). `name_or_path` is one of:
//
//   fashion-mnist            Debian's package dataset-fashion-mnist: 60000 + 10000 images, 28x28
//   digits                   1797 images, 8x8, that come with the source
//   DIRECTORY                {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz
//   FILE.csv, FILE.csv.gz    features,...,label on each line (see csv.h)
//   IMAGES,LABELS            two IDX files, plain or .gz (see idx.h)
//
// Where there is one set only, a fifth of it in a fixed random order becomes the test set: the same
// 80/20 cut in every process. Named sets are looked for in $LOCKSTEP_DATASET_DIR first (as
// fashion-mnist/ and digits.csv.gz), then where packages, Bazel or the source tree have them.
//
// NotFound: not there; says where it was looked for and what to install. InvalidArgument: a path
// that is none of these. DataLoss: damaged; names file and offset or line. Never crashes on content.
absl::StatusOr<Dataset> LoadDataset(const std::string& name_or_path);

// The 80/20 cut of LoadDataset. `all` has at least 2 samples (InvalidArgument otherwise).
absl::StatusOr<Dataset> SplitForTest(const Split& all, std::string name);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_DATASET_H_
