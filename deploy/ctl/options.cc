#include "deploy/ctl/options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <map>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "deploy/ctl/endpoint.h"

namespace lockstep::ctl {
namespace {

constexpr char kDescription[] =
    "Asks a Lockstep run what is going on, from the address of any one of its shards.\n"
    "`lockstepctl status` shows in a second what holds a run up.";

const std::map<std::string, Output> kOutputs = {
    {"table", Output::kTable}, {"wide", Output::kWide}, {"json", Output::kJson}};

// Texts as they came from the command line, before they mean something.
struct RawOptions {
  Options options;
  std::string endpoint;
  std::string output = "table";
};

// "5s", "200ms", "1m30s", or a bare number of seconds; more than nothing.
std::optional<absl::Duration> ParseTime(const std::string& text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return std::nullopt;
  }
  if (duration <= absl::ZeroDuration()) return std::nullopt;
  return duration;
}

std::string CheckTime(const std::string& text) {
  if (ParseTime(text)) return "";
  return absl::StrCat("expected a time such as 5s, 200ms or 1m30s, got '", text, "'");
}

std::string CheckRank(const std::string& text) {
  uint32_t rank = 0;
  return absl::SimpleAtoi(text, &rank) ? "" : absl::StrCat("expected a rank such as 0, got '", text, "'");
}

std::string CheckRounds(const std::string& text) {
  uint32_t rounds = 0;
  if (absl::SimpleAtoi(text, &rounds) && rounds >= 1 && rounds <= kMostRounds) return "";
  return absl::StrCat("expected 1 to ", kMostRounds, ", since a run keeps no more rounds than that, got '", text, "'");
}

void AddTime(CLI::App& app, const std::string& flags, std::optional<absl::Duration>& value, const std::string& help,
             const std::string& if_bare) {
  CLI::Option* option = app.add_option_function<std::string>(
      flags, [&value](const std::string& text) { value = ParseTime(text); }, help);
  option->check(CheckTime)->type_name("TIME");
  if (!if_bare.empty()) option->expected(0, 1)->default_str(if_bare);
}

void AddGlobalOptions(CLI::App& app, RawOptions& raw) {
  app.add_option("--endpoint", raw.endpoint,
                 "address of any shard, HOST[:PORT], or a file that holds it (run/endpoint); default: 127.0.0.1:7700")
      ->envname("LOCKSTEP_ENDPOINT")
      ->type_name("ADDRESS");
  AddTime(app, "--timeout", raw.options.timeout,
          "give up after this time (5s; health 1s; fingerprint, export and checkpoint 60s; wait: never)", "");
  app.add_option("-o,--output", raw.output, "table, wide or json")
      ->check(CLI::IsMember({"table", "wide", "json"}))
      ->type_name("FORM");
  AddTime(app, "--watch", raw.options.watch,
          "ask again and again, by default every second; waits for the endpoint's file", "1s");
}

CLI::App* AddCommand(CLI::App& app, RawOptions& raw, Command command, const std::string& name,
                     const std::string& help) {
  CLI::App* added = app.add_subcommand(name, help);
  added->callback([&raw, command] { raw.options.command = command; });
  return added;
}

void AddRounds(CLI::App* command, RawOptions& raw) {
  command
      ->add_option("-n,--rounds", raw.options.rounds,
                   absl::StrCat("how many recent rounds (10; up to ", kMostRounds, ")"))
      ->check(CheckRounds)
      ->type_name("N");
}

CLI::Option* AddVersion(CLI::App* command, RawOptions& raw, const std::string& help) {
  return command->add_option("--version", raw.options.version, help)->type_name("V");
}

void AddQuestions(CLI::App& app, RawOptions& raw) {
  AddRounds(AddCommand(app, raw, Command::kStatus, "status",
                       "What is going on, is it healthy, who is waited for (exit code 1 if not "
                       "healthy)"),
            raw);
  AddCommand(app, raw, Command::kWorkers, "workers",
             "One line for each worker. CAME LAST: in how many rounds since the coordinator's start, and how long the "
             "others waited for it in all of them, on average and at most. MISSED: how many rounds were closed without "
             "it, under the policies quorum and deadline");
  AddCommand(app, raw, Command::kShards, "shards", "One line for each shard, as of its last report");
  AddRounds(
      AddCommand(app, raw, Command::kRounds, "rounds",
                 "Recent rounds: how long they took, who came last and by how much (nobody is named if the members "
                 "changed within the round: it waited for that)"),
      raw);
}

void AddHealth(CLI::App& app, RawOptions& raw) {
  CLI::App* health = AddCommand(app, raw, Command::kHealth, "health",
                                "Probes of this one shard's process, which ask nobody else (exit code 0: yes; 1: no; "
                                "69: no answer within --timeout, 1s)");
  const auto add = [&](const char* flag, Probe probe, const char* help) {
    return health->add_flag_callback(
        flag, [&raw, probe] { raw.options.probe = probe; }, help);
  };
  CLI::Option* startup =
      add("--startup", Probe::kStartup, "ask: has it recovered what it had on disk, and does it listen?");
  CLI::Option* ready = add("--ready", Probe::kReady,
                           "ask: is it registered with the coordinator, and not stopping? (the default; workers do not "
                           "matter)");
  CLI::Option* live = add("--live", Probe::kLive, "ask: does its own event loop turn? (nobody else matters)");
  ready->excludes(live)->excludes(startup);
  live->excludes(startup);
}

void AddActions(CLI::App& app, RawOptions& raw) {
  CLI::App* wait = AddCommand(app, raw, Command::kWait, "wait", "Wait until a version is complete on every shard");
  AddVersion(wait, raw, "the version to wait for")->required();
  CLI::App* evict = AddCommand(app, raw, Command::kEvict, "evict", "Take a rank from the worker that holds it");
  evict->add_option("RANK", raw.options.rank, "the rank")->required()->check(CheckRank)->type_name("");
  AddCommand(app, raw, Command::kCheckpoint, "checkpoint",
             "Have a checkpoint of the whole run written, and wait until it is there");
  AddHealth(app, raw);
}

void AddModelCommands(CLI::App& app, RawOptions& raw) {
  CLI::App* fingerprint = AddCommand(app, raw, Command::kFingerprint, "fingerprint",
                                     "XXH3-128 of the model's bits: equal models have equal fingerprints");
  CLI::Option* version = AddVersion(fingerprint, raw, "of this version (the newest)");
  fingerprint->add_option("--file", raw.options.file, "of a .safetensors file, not of a run")
      ->check(CLI::ExistingFile)
      ->excludes(version)
      ->type_name("FILE");
  CLI::App* exported =
      AddCommand(app, raw, Command::kExport, "export", "Write the model to a .safetensors file while training goes on");
  exported->add_option("FILE", raw.options.file, "the file to write")->required()->type_name("");
  AddVersion(exported, raw, "this version (the newest)");
}

// "; did you mean --watch?" for --wat; empty for what is the beginning of no option's name.
std::string Guess(const CLI::App* app, const std::string& word) {
  if (word.size() < 4) return "";  // --x
  for (const CLI::App* level = app; level != nullptr; level = level->get_parent()) {
    for (const CLI::Option* option : level->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        if (absl::StartsWith("--" + name, word)) return absl::StrCat("; did you mean --", name, "?");
      }
    }
  }
  return "";
}

// What is left of a command line, in its order.
std::string NotExpected(const CLI::App* app) {
  const std::vector<std::string> words = app->remaining(/*recurse=*/true);
  const CLI::App* command = app->get_subcommands().empty() ? app : app->get_subcommands().front();
  std::string guess;
  for (const std::string& word : words) {
    if (guess.empty()) guess = Guess(command, word);
  }
  return absl::StrCat("not expected: ", absl::StrJoin(words, " "), guess);
}

// For stderr: what is wrong with the command line.
std::string Complaint(const CLI::App* app, const CLI::Error& error) {
  std::string what = error.what();
  if (app->get_subcommands().empty()) {
    std::vector<std::string> known;
    for (const CLI::App* command : app->get_subcommands({})) known.push_back(command->get_name());
    const std::vector<std::string> given = app->remaining();
    what = absl::StrCat(given.empty() ? "no command" : absl::StrCat("'", given.front(), "' is no command"),
                        "; expected one of ", absl::StrJoin(known, ", "));
  }
  if (!app->get_subcommands().empty() && error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError)) {
    what = NotExpected(app);
  }
  return absl::StrCat("lockstepctl: ", what, "\nRun with --help for more information.\n");
}

bool NeedsEndpoint(const Options& options) { return options.command != Command::kFingerprint || options.file.empty(); }

std::variant<Options, ExitCode> Finish(RawOptions raw) {
  raw.options.output = kOutputs.at(raw.output);
  if (!NeedsEndpoint(raw.options)) return raw.options;
  raw.options.nobody_gave_endpoint = raw.endpoint.empty();
  if (raw.endpoint.empty()) raw.endpoint = kDefaultEndpoint;
  absl::StatusOr<std::string> endpoint =
      raw.options.watch ? AwaitEndpoint(raw.endpoint) : ResolveEndpoint(raw.endpoint);
  if (!endpoint.ok()) {
    std::cerr << "lockstepctl: " << endpoint.status().message() << "\n";
    return ExitCodeFor(endpoint.status());
  }
  raw.options.endpoint = *std::move(endpoint);
  return raw.options;
}

}  // namespace

std::variant<Options, ExitCode> ParseOptions(int argc, const char* const* argv) {
  CLI::App app(kDescription, "lockstepctl");
  RawOptions raw;
  app.require_subcommand(1)->fallthrough()->footer(kExitCodeHelp);
  app.failure_message(Complaint);
  AddGlobalOptions(app, raw);
  AddQuestions(app, raw);
  AddActions(app, raw);
  AddModelCommands(app, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kFine : kUsage;
  }
  return Finish(std::move(raw));
}

}  // namespace lockstep::ctl
