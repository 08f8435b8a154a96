#include "worker/trainer/flags.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/command_line.h"
#include "common/exit_codes.h"

namespace lockstep::trainer {
namespace {

constexpr char kDescription[] =
    "One worker of a Lockstep run: trains a small model on real data. See worker/trainer/README.md.";
constexpr uint64_t kMostRounds = uint64_t{1} << 40;

// "60s", "1m30s", or a bare number of seconds.
absl::Duration ParseTime(const std::string& flag, const std::string& text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    duration = -absl::InfiniteDuration();
  }
  if (duration >= absl::ZeroDuration()) return duration;
  throw CLI::ValidationError(flag, absl::StrCat("expected a time such as 60s or 500ms, but got '", text, "'"));
}

CLI::Option* AddTime(CLI::App& app, const std::string& flag, absl::Duration& value, const std::string& help) {
  return app
      .add_option_function<std::string>(
          flag,
          [&value, name = flag.substr(0, flag.find(','))](const std::string& text) { value = ParseTime(name, text); },
          help)
      ->type_name("TIME")
      ->default_str(absl::FormatDuration(value));
}

void AddPlace(CLI::App& app, GivenWorkerPlace& given, WorkerFlags& flags) {
  const char* group = "Place in the run (or LOCKSTEP_ENDPOINT and so on; every other option likewise)";
  app.add_option("--endpoint,--coordinator", given.endpoint, "HOST:PORT of shard 0 (default: TF_CONFIG's first ps)")
      ->group(group);
  app.add_option("--name", given.name,
                 "unique among the workers; a process of the same name takes its rank back (default: the host's name)")
      ->group(group);
  app.add_option("--rank", given.rank,
                 "the rank to take (default: JOB_COMPLETION_INDEX, RANK, PET_NODE_RANK or TF_CONFIG's worker; else "
                 "whichever is free)")
      ->group(group);
  app.add_flag("--rank-from-hostname", given.rank_from_hostname,
               "this is a pod of a StatefulSet: N of its host name, which ends in -N, is the rank")
      ->group(group);
  app.add_option("--run-id", flags.run_id, "join only this run (default: any)")->group(group);
  AddTime(app, "--connect-timeout,--join-timeout", flags.join_timeout,
          "how long to look for the coordinator and a rank; then exit code 75")
      ->group(group);
}

void AddTraining(CLI::App& app, WorkerFlags& flags) {
  const char* group = "Training (the same on all workers)";
  app.add_option("--dataset", flags.dataset,
                 "fashion-mnist, digits, a directory with IDX files, a .csv, or IMAGES,LABELS")
      ->required()
      ->group(group);
  app.add_option("--model", flags.model, "softmax or mlp")->capture_default_str()->group(group);
  app.add_option("--hidden", flags.hidden, "hidden units of the mlp")->capture_default_str()->group(group);
  app.add_option("--batch", flags.batch, "samples per worker and round")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->group(group);
  app.add_option("--seed", flags.seed, "of initial values and sampling")->capture_default_str()->group(group);
  CLI::Option_group* length = app.add_option_group("Length", "one of these");
  length->add_option("--rounds", flags.rounds, "train up to this version")->check(CLI::Range(uint64_t{1}, kMostRounds));
  length->add_option("--epochs", flags.epochs, "train for so many passes over the data")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 20));
  length->require_option(1);
}

void AddOutput(CLI::App& app, WorkerFlags& flags) {
  const char* group = "Output (of rank 0)";
  app.add_option("--metrics", flags.metrics, "append one JSON line a round to this file")->group(group);
  app.add_option("--save", flags.save, "write the final model here (.safetensors)")->group(group);
  app.add_option("--result", flags.result, "write what came out here (JSON)")->group(group);
}

void AddRest(CLI::App& app, WorkerFlags& flags) {
  AddTime(app, "--delay-max", flags.delay_max, "sleep a random time up to this before each contribution (for tests)");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warn or error")->capture_default_str();
  app.add_option("--log-file", flags.log_file, "append the log here instead of stderr");
}

// Found in more places than one variable each.
const std::vector<std::string>& PlaceFlags() {
  static const auto* flags = new std::vector<std::string>{"endpoint", "name", "rank"};
  return *flags;
}

// Adds everything to `app`.
void AddAll(CLI::App& app, GivenWorkerPlace& given, WorkerFlags& flags) {
  AddPlace(app, given, flags);
  AddTraining(app, flags);
  AddOutput(app, flags);
  AddRest(app, flags);
  app.footer(kExitCodeHelp);
}

}  // namespace

bool ParseWorkerFlags(int argc, const char* const* argv, const Surroundings& surroundings, WorkerFlags& flags,
                      int& exit_code) {
  CLI::App app(kDescription, "lockstep-worker");
  GivenWorkerPlace given;
  AddAll(app, given, flags);
  if (!ParseCommandLine(app, argc, argv, surroundings, PlaceFlags(), exit_code)) return false;
  absl::StatusOr<WorkerPlace> place = FindWorkerPlace(given, surroundings);
  if (place.ok()) {
    flags.place = *std::move(place);
    return true;
  }
  std::cerr << "lockstep-worker: " << place.status().message() << "\nRun with --help for more information.\n";
  exit_code = static_cast<int>(ExitCode::kUsage);
  return false;
}

std::vector<std::string> WorkerFlagsByVariable() {
  CLI::App app(kDescription, "lockstep-worker");
  GivenWorkerPlace given;
  WorkerFlags flags;
  AddAll(app, given, flags);
  std::vector<std::string> names = SettableByVariable(app, PlaceFlags());
  names.insert(names.end(), PlaceFlags().begin(), PlaceFlags().end());
  return names;
}

}  // namespace lockstep::trainer
