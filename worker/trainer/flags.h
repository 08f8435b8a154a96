// The flags of lockstep-worker.
#ifndef WORKER_TRAINER_FLAGS_H_
#define WORKER_TRAINER_FLAGS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace lockstep::trainer {

struct WorkerFlags {
  std::string coordinator;
  std::string name;
  std::optional<uint32_t> rank;
  std::string run_id;
  absl::Duration join_timeout = absl::Seconds(60);

  std::string dataset;
  std::string model = "mlp";
  size_t hidden = 128;
  uint32_t batch = 64;
  // Exactly one of the two is set.
  std::optional<uint64_t> rounds;
  std::optional<uint64_t> epochs;
  uint64_t seed = 1;
  absl::Duration delay_max = absl::ZeroDuration();

  // Written by rank 0 alone; empty: not written.
  std::string metrics;
  std::string save;
  std::string result;

  std::string log_level = "info";
  std::string log_file;
};

// Parses and checks the command line. When the process should end instead (--help, or a mistake, which has been
// explained on stderr), returns false and sets `exit_code`.
bool ParseWorkerFlags(int argc, char** argv, WorkerFlags& flags, int& exit_code);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_FLAGS_H_
