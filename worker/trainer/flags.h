// The flags of lockstep-worker.
#ifndef WORKER_TRAINER_FLAGS_H_
#define WORKER_TRAINER_FLAGS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/identity.h"

namespace lockstep::trainer {

struct WorkerFlags {
  WorkerPlace place;
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

// Parses and checks the command line; what is not on it comes from `surroundings`. When the process should end instead
// (--help, or a mistake, which has been explained on stderr), returns false and sets `exit_code`.
bool ParseWorkerFlags(int argc, const char* const* argv, const Surroundings& surroundings, WorkerFlags& flags,
                      int& exit_code);
// The flags that variables can set, see common/command_line.h. (Those of the place are looked for elsewhere, too.)
std::vector<std::string> WorkerFlagsByVariable();

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_FLAGS_H_
