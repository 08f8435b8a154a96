// metrics.jsonl: how training went, one JSON object a line and round, for people, plots and deploy/train-local.
//
//   {"round":12,"loss":0.71,"accuracy":0.77,"samples":256,"samples_per_second":51200.0,"seconds":0.005,
//    "participants":[0,1,2,3],"elapsed_seconds":0.061,"generation":1}
//
// Invariant: rounds ascend, none comes twice, although rank 0 may be killed at any byte and repeat a round: opening the
// file drops the lines of rounds that come again, and a last line that was cut off. A round is missing when rank 0 was
// killed after the round and before it wrote the line: at most one for each time it was killed.
#ifndef WORKER_TRAINER_METRICS_FILE_H_
#define WORKER_TRAINER_METRICS_FILE_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep::trainer {

struct RoundMetrics {
  uint64_t round = 0;
  std::optional<double> loss = {};  // mean over rank 0's own batch, before the round; nothing when it had no samples
  std::optional<double> accuracy = {};  // the same, 0..1
  uint64_t samples = 0;                 // of all participants
  double seconds = 0;                   // from the start of the gradient to holding the version
  std::vector<uint32_t> participants = {};
  uint64_t generation = 0;
};

// Thread-safety: none.
class MetricsFile {
 public:
  // Opens or creates the file and drops the lines of rounds after `version`, and those that are no metrics.
  // INVALID_ARGUMENT: it cannot be read or written.
  static absl::StatusOr<MetricsFile> Open(const std::string& path, uint64_t version);

  // Adds a line; `elapsed_seconds` goes on from the last line that was kept. RESOURCE_EXHAUSTED or INTERNAL: not
  // written.
  absl::Status Append(const RoundMetrics& metrics);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  MetricsFile(std::string path, std::FILE* file, double elapsed)
      : path_(path), file_(file), elapsed_seconds_(elapsed) {}

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  double elapsed_seconds_;
};

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_METRICS_FILE_H_
