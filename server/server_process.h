// One lockstep-server process: listens, serves its shard (and, as shard 0, the coordinator), until the run is over.
#ifndef LOCKSTEP_SERVER_SERVER_PROCESS_H_
#define LOCKSTEP_SERVER_SERVER_PROCESS_H_

#include "absl/status/status.h"
#include "server/flags.h"

namespace lockstep {

// Blocks until the run is over or the process is asked to stop (SIGTERM, SIGINT). OK: the run is done.
// INVALID_ARGUMENT: cannot listen on flags.bind, or no place in the run. ABORTED: the run has failed and must start
// again. PERMISSION_DENIED: another process serves as this shard. CANCELLED: was asked to stop.
absl::Status RunServer(const ServerFlags& flags);

}  // namespace lockstep

#endif  // LOCKSTEP_SERVER_SERVER_PROCESS_H_
