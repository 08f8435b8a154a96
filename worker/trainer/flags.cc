#include "worker/trainer/flags.h"

#include <CLI/CLI.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
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
          flag, [&value, flag](const std::string& text) { value = ParseTime(flag, text); }, help)
      ->type_name("TIME")
      ->default_str(absl::FormatDuration(value));
}

void AddPlace(CLI::App& app, WorkerFlags& flags) {
  const char* group = "Place in the run";
  app.add_option("--coordinator", flags.coordinator, "HOST:PORT of shard 0")->required()->group(group);
  app.add_option("--name", flags.name, "unique among the workers; a process of the same name takes its rank back")
      ->required()
      ->group(group);
  app.add_option("--rank", flags.rank, "the rank to take (default: whichever is free)")->group(group);
  app.add_option("--run-id", flags.run_id, "join only this run (default: any)")->group(group);
  AddTime(app, "--join-timeout", flags.join_timeout, "how long to look for the coordinator and a rank")->group(group);
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

}  // namespace

bool ParseWorkerFlags(int argc, char** argv, WorkerFlags& flags, int& exit_code) {
  CLI::App app(kDescription, "lockstep-worker");
  AddPlace(app, flags);
  AddTraining(app, flags);
  AddOutput(app, flags);
  AddRest(app, flags);
  app.footer(kExitCodeHelp);
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::ParseError& error) {
    exit_code = static_cast<int>(app.exit(error) == 0 ? ExitCode::kDone : ExitCode::kUsage);
    return false;
  }
}

}  // namespace lockstep::trainer
