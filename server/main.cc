// lockstep-server: one shard of a run; shard 0 also hosts the coordinator.
#include <string>

#include "common/exit_codes.h"
#include "common/logging.h"
#include "common/wire/channel.h"
#include "server/flags.h"
#include "server/server_process.h"
#include "spdlog/spdlog.h"

int main(int argc, char** argv) {
  lockstep::wire::AskForNamesAgainSoon();
  lockstep::ServerFlags flags;
  int exit_code = 0;
  if (!lockstep::ParseServerFlags(argc, argv, lockstep::Surroundings::OfThisProcess(), flags, exit_code))
    return exit_code;
  if (absl::Status status = lockstep::StartProcess(flags.log_level, flags.log_file); !status.ok()) {
    spdlog::error("{}", std::string(status.message()));
    return static_cast<int>(lockstep::ExitCode::kUsage);
  }
  for (const std::string& line : flags.place.found) spdlog::info("place: {}", line);
  const lockstep::ServerEnd end = lockstep::RunServer(flags);
  const int code = static_cast<int>(end.code);
  if (code != 0) spdlog::error("ends with code {}: {}", code, end.why);
  if (code == 0 && !end.why.empty()) spdlog::info("ends: {}", end.why);
  return code;
}
