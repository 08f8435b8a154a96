#include "common/command_line.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/exit_codes.h"

namespace lockstep {
namespace {

// A flag that a variable has set.
struct FromVariable {
  std::string flag;
  std::string variable;
  std::string value;
};

bool IsOn(const CLI::Option& option, int argc, const char* const* argv) {
  for (const std::string& name : option.get_lnames()) {
    const std::string flag = "--" + name;
    for (int i = 1; i < argc; ++i) {
      if (argv[i] == flag || absl::StartsWith(argv[i], flag + "=")) return true;
    }
  }
  return false;
}

// `app` itself and its groups, whose options exclude each other.
std::vector<const CLI::App*> Groups(const CLI::App& app) {
  std::vector<const CLI::App*> groups = {&app};
  for (const CLI::App* group : app.get_subcommands([](const CLI::App* sub) { return sub->get_name().empty(); })) {
    groups.push_back(group);
  }
  return groups;
}

std::vector<const CLI::Option*> Settable(const CLI::App& group, const std::vector<std::string>& not_these) {
  std::vector<const CLI::Option*> options;
  for (const CLI::Option* option : group.get_options()) {
    if (option->get_lnames().empty()) continue;
    const std::string& name = option->get_lnames().front();
    if (name == "help" || std::find(not_these.begin(), not_these.end(), name) != not_these.end()) continue;
    options.push_back(option);
  }
  return options;
}

std::vector<FromVariable> ReadVariables(const CLI::App& app, int argc, const char* const* argv,
                                        const Surroundings& surroundings, const std::vector<std::string>& not_these) {
  std::vector<FromVariable> read;
  for (const CLI::App* group : Groups(app)) {
    const std::vector<const CLI::Option*> options = Settable(*group, not_these);
    const auto is_on = [&](const CLI::Option* option) { return IsOn(*option, argc, argv); };
    if (group != &app && std::any_of(options.begin(), options.end(), is_on)) continue;
    for (const CLI::Option* option : options) {
      const std::string& flag = option->get_lnames().front();
      const std::optional<std::string> value = surroundings.variable(VariableOf(flag));
      if (value && !is_on(option)) read.push_back({flag, VariableOf(flag), *value});
    }
  }
  return read;
}

// Which of the variables an error is about; empty: none.
std::string Culprits(const std::string& message, const std::vector<FromVariable>& read) {
  std::vector<std::string> culprits;
  for (const FromVariable& from : read) {
    const std::string flag = "--" + from.flag;
    for (size_t at = message.find(flag); at != std::string::npos; at = message.find(flag, at + 1)) {
      const size_t after = at + flag.size();
      const bool whole = after == message.size() ||
                         !(absl::ascii_isalnum(static_cast<unsigned char>(message[after])) || message[after] == '-');
      if (!whole) continue;
      culprits.push_back(absl::StrCat(from.variable, "=", from.value));
      break;
    }
  }
  return absl::StrJoin(culprits, ", ");
}

std::string Explain(const CLI::App& app, const CLI::ParseError& error, const std::vector<FromVariable>& read) {
  std::string what = error.what();
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
    what = absl::StrCat("not expected: ", absl::StrJoin(app.remaining(/*recurse=*/true), " "));
  }
  const std::string culprits = Culprits(what, read);
  return absl::StrCat(app.get_name(), ": ", what,
                      culprits.empty() ? "" : absl::StrCat(" (from the environment: ", culprits, ")"),
                      "\nRun with --help for more information.\n");
}

}  // namespace

std::string VariableOf(const std::string& flag) {
  return absl::StrCat("LOCKSTEP_", absl::AsciiStrToUpper(absl::StrReplaceAll(flag, {{"-", "_"}})));
}

std::vector<std::string> SettableByVariable(const CLI::App& app, const std::vector<std::string>& not_these) {
  std::vector<std::string> flags;
  for (const CLI::App* group : Groups(app)) {
    for (const CLI::Option* option : Settable(*group, not_these)) flags.push_back(option->get_lnames().front());
  }
  return flags;
}

bool ParseCommandLine(CLI::App& app, int argc, const char* const* argv, const Surroundings& surroundings,
                      const std::vector<std::string>& not_by_variable, int& exit_code) {
  const std::vector<FromVariable> read = ReadVariables(app, argc, argv, surroundings, not_by_variable);
  std::vector<std::string> added;
  for (const FromVariable& from : read) added.push_back(absl::StrCat("--", from.flag, "=", from.value));
  std::vector<const char*> all(argv, argv + std::min(argc, 1));
  for (const std::string& argument : added) all.push_back(argument.c_str());
  for (int i = 1; i < argc; ++i) all.push_back(argv[i]);
  try {
    app.parse(static_cast<int>(all.size()), all.data());
    return true;
  } catch (const CLI::ParseError& error) {
    app.failure_message([&](const CLI::App* failed, const CLI::Error&) { return Explain(*failed, error, read); });
    exit_code = static_cast<int>(app.exit(error) == 0 ? ExitCode::kDone : ExitCode::kUsage);
    return false;
  }
}

}  // namespace lockstep
