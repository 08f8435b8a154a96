// The flags of lockstep-server.
#ifndef LOCKSTEP_SERVER_FLAGS_H_
#define LOCKSTEP_SERVER_FLAGS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "proto/types.pb.h"
#include "server/core/shard.h"

namespace lockstep {

struct ServerFlags {
  uint32_t shard_index = 0;
  uint32_t shards = 1;
  uint32_t workers = 1;
  std::string bind = "0.0.0.0:7000";
  std::string advertise;
  std::string coordinator;
  std::string port_file;
  std::string log_level = "info";
  std::string log_file;
  absl::Duration lease = absl::Seconds(5);
  v1::OptimizerConfig optimizer;
  uint64_t block_elements = 0;
  uint32_t connections = 2;
  bool checksums = true;
  uint64_t credit_bytes = 0;
  // What makes rounds outlive the process.
  core::Durability durability = core::Durability::kJournal;
  std::string data_dir;  // needed unless kNone
  bool sync_rounds = false;
  std::string checkpoint_dir;      // empty: within data_dir
  uint64_t checkpoint_rounds = 0;  // 0: chosen for the model
  uint64_t journal_segment_bytes = uint64_t{64} << 20;
  std::string fail_point;  // NAME@N, see server/fail_points.h; empty: none
};

// Parses and checks the command line. When the process should end instead (--help, or a mistake, which has been
// explained on stderr), returns false and sets `exit_code`.
bool ParseServerFlags(int argc, char** argv, ServerFlags& flags, int& exit_code);

}  // namespace lockstep

#endif  // LOCKSTEP_SERVER_FLAGS_H_
