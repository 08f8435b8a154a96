// The command line of the long-running programs: an option that is not on it takes its value from the environment.
//
// --log-level is LOCKSTEP_LOG_LEVEL, and so on: a ConfigMap configures everything. Kubernetes itself sets variables for
// Services (LOCKSTEP_PORT=tcp://10.0.0.1:7700, LOCKSTEP_SHARDS_SERVICE_HOST, ...): no flag may have such a name (a test
// looks at all of them).
//
// Thread-safety: functions.
#ifndef LOCKSTEP_COMMON_COMMAND_LINE_H_
#define LOCKSTEP_COMMON_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "common/identity.h"

namespace lockstep {

// "LOCKSTEP_LOG_LEVEL" for "log-level".
std::string VariableOf(const std::string& flag);

// The long options of `app` and its groups which the environment can set: all but help and those in `not_these`.
std::vector<std::string> SettableByVariable(const CLI::App& app, const std::vector<std::string>& not_these);

// Parses the command line. What is not given there comes from variables; of options that exclude each other in one
// group none does when one of them is given. When the process should end instead (--help, or a mistake, which has been
// explained on stderr together with the flag or variable that it is in), returns false and sets `exit_code`.
bool ParseCommandLine(CLI::App& app, int argc, const char* const* argv, const Surroundings& surroundings,
                      const std::vector<std::string>& not_by_variable, int& exit_code);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_COMMAND_LINE_H_
