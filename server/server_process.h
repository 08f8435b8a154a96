// One lockstep-server process: listens, serves its shard (and, as shard 0, the coordinator), until the run is over.
#ifndef LOCKSTEP_SERVER_SERVER_PROCESS_H_
#define LOCKSTEP_SERVER_SERVER_PROCESS_H_

#include <string>

#include "common/exit_codes.h"
#include "server/flags.h"

namespace lockstep {

// How a server process has ended.
struct ServerEnd {
  ExitCode code = ExitCode::kDone;
  std::string why;  // for people
};

// Blocks until the run is over (with --after-run serve: for ever) or the process is asked to stop (SIGTERM, SIGINT).
//
// kDone: the run is done, or the process was asked to stop, has ended the round in progress or left it to be undone,
// and all that it has said is on the disk. kUsage: cannot listen on flags.place.bind, or no place in the run. kDamaged:
// what is on its disk is damaged. kRetry: the run has failed and must start again. kFenced: another process serves as
// this shard.
//
// When stopping takes longer than flags.grace, the process ends here, with kRetry.
ServerEnd RunServer(const ServerFlags& flags);

}  // namespace lockstep

#endif  // LOCKSTEP_SERVER_SERVER_PROCESS_H_
