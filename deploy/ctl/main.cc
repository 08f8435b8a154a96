// lockstepctl: what is going on in a run, for people and scripts. See `lockstepctl --help`.
#include <cstdlib>
#include <iostream>
#include <variant>

#include "common/wire/channel.h"
#include "deploy/ctl/commands.h"
#include "deploy/ctl/exit_codes.h"
#include "deploy/ctl/model_commands.h"
#include "deploy/ctl/options.h"

namespace {

lockstep::ctl::ExitCode Run(const lockstep::ctl::Options& options) {
  using namespace lockstep::ctl;
  switch (options.command) {
    case Command::kFingerprint:
      return RunFingerprint(options);
    case Command::kExport:
      return RunExport(options);
    default:
      return RunControlCommand(options);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace lockstep::ctl;
  // Our own messages say what went wrong; gRPC's log would only come between them.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  lockstep::wire::AskForNamesAgainSoon();
  const std::variant<Options, ExitCode> parsed = ParseOptions(argc, argv);
  if (const ExitCode* code = std::get_if<ExitCode>(&parsed)) return *code;
  const Options& options = std::get<Options>(parsed);
  const ExitCode code = Run(options);
  if (code == kUnreachable && options.nobody_gave_endpoint) {
    std::cerr
        << "lockstepctl: " << kDefaultEndpoint
        << " is what is asked when no endpoint is given. Outside of a shard's pod, pass --endpoint HOST:PORT (the "
           "address of any shard, or a file that holds it, such as run/endpoint) or set LOCKSTEP_ENDPOINT\n";
  }
  return code;
}
