// The flags of lockstep-server.
#ifndef LOCKSTEP_SERVER_FLAGS_H_
#define LOCKSTEP_SERVER_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/identity.h"
#include "proto/types.pb.h"
#include "server/core/not_finite.h"
#include "server/core/round_policy.h"
#include "server/core/shard.h"
#include "server/service/coordinator_link.h"

namespace lockstep {

struct ServerFlags {
  ServerPlace place;
  std::string port_file;
  std::string log_level = "info";
  std::string log_file;
  absl::Duration lease = absl::Seconds(5);
  absl::Duration grace = absl::Seconds(10);  // from SIGTERM to the end
  service::AfterRun after_run = service::AfterRun::kExit;
  core::RoundPolicy policy;
  // Elastic membership; see core::CoordinatorOptions.
  uint32_t min_workers = 0;
  uint32_t max_workers = 0;
  absl::Duration replace_timeout = absl::InfiniteDuration();
  v1::OptimizerConfig optimizer;
  uint64_t block_elements = 0;
  uint32_t connections = 2;
  bool checksums = true;
  uint64_t credit_bytes = 0;
  core::NanPolicy nan_policy = core::NanPolicy::kFail;
  absl::Duration linger = absl::Seconds(60);
  // What makes rounds outlive the process.
  core::Durability durability = core::Durability::kJournal;
  std::string data_dir;  // needed unless kNone
  bool sync_rounds = false;
  std::string checkpoint_dir;      // empty: within data_dir
  std::string restore;             // what a new run begins with, see service/restore.h; empty: what rank 0 brings
  uint64_t checkpoint_rounds = 0;  // 0: chosen for the model
  absl::Duration checkpoint_interval = absl::InfiniteDuration();
  uint32_t keep_checkpoints = 3;
  uint64_t journal_segment_bytes = uint64_t{64} << 20;
  std::string fail_point;  // NAME@N, see server/fail_points.h; empty: none
};

// Parses and checks the command line; what is not on it comes from `surroundings`. When the process should end instead
// (--help, or a mistake, which has been explained on stderr), returns false and sets `exit_code`.
bool ParseServerFlags(int argc, const char* const* argv, const Surroundings& surroundings, ServerFlags& flags,
                      int& exit_code);
// The flags that variables can set, see common/command_line.h. (Those of the place are looked for elsewhere, too.)
std::vector<std::string> ServerFlagsByVariable();

}  // namespace lockstep

#endif  // LOCKSTEP_SERVER_FLAGS_H_
