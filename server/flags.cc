#include "server/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/command_line.h"
#include "common/exit_codes.h"
#include "server/fail_points.h"
#include "server/service/optimizer_config.h"

namespace lockstep {
namespace {

constexpr char kByVariable[] = "Place (or LOCKSTEP_SHARD_INDEX and so on; every other option likewise)";

void AddPlace(CLI::App& app, GivenServerPlace& given, ServerFlags& flags) {
  app.add_option("--shard-index", given.shard_index,
                 "which shard this is; shard 0 also hosts the coordinator (default: JOB_COMPLETION_INDEX, TF_CONFIG's "
                 "ps, or N of a host name that ends in -N)")
      ->group(kByVariable);
  app.add_option("--shards", given.shards, "how many shards the run has (default: TF_CONFIG's ps, or 1)")
      ->check(CLI::Range(uint32_t{1}, kMostShards))
      ->group(kByVariable);
  app.add_option("--workers", given.workers, "how many workers the run has (default: TF_CONFIG's, or 1)")
      ->check(CLI::Range(uint32_t{1}, kMostWorkers))
      ->group(kByVariable);
  app.add_option("--bind", given.bind, "HOST:PORT to listen on; port 0 takes a free one")
      ->default_str(absl::StrCat("0.0.0.0:", kDefaultPort))
      ->group(kByVariable);
  app.add_option("--advertise", given.advertise,
                 "HOST:PORT under which others reach this shard (default: what is bound; for 0.0.0.0 the host's name, "
                 "in a pod with its domain)")
      ->group(kByVariable);
  app.add_option("--coordinator", given.coordinator,
                 "HOST:PORT of shard 0; needed on all other shards (default: TF_CONFIG's first ps, or this "
                 "StatefulSet's pod 0)")
      ->group(kByVariable);
  app.add_option("--port-file", flags.port_file, "write the advertised HOST:PORT here once listening");
}

void AddOptimizer(CLI::App& app, v1::OptimizerConfig& config) {
  const auto number = [&](const char* name, double initial, void (v1::OptimizerConfig::*set)(double),
                          const char* help) {
    (config.*set)(initial);
    app.add_option_function<double>(
           name, [&config, set](double value) { (config.*set)(value); }, help)
        ->default_str(absl::StrCat(initial))
        ->group("Optimizer (read by shard 0)");
  };
  const auto count = [&](const char* name, uint64_t initial, void (v1::OptimizerConfig::*set)(uint64_t),
                         const char* help) {
    (config.*set)(initial);
    app.add_option_function<uint64_t>(
           name, [&config, set](uint64_t value) { (config.*set)(value); }, help)
        ->default_str(absl::StrCat(initial))
        ->group("Optimizer (read by shard 0)");
  };
  config.set_optimizer("sgd");
  config.set_schedule("constant");
  app.add_option_function<std::string>(
         "--optimizer", [&config](const std::string& name) { config.set_optimizer(name); },
         "aggregate (workers get the mean gradient), sgd, momentum, nesterov, adam, adamw or adagrad")
      ->default_str("sgd")
      ->group("Optimizer (read by shard 0)");
  app.add_option_function<std::string>(
         "--schedule", [&config](const std::string& name) { config.set_schedule(name); }, "constant, step or cosine")
      ->default_str("constant")
      ->group("Optimizer (read by shard 0)");
  using Config = v1::OptimizerConfig;
  number("--lr", 0.1, &Config::set_lr, "learning rate");
  number("--momentum", 0.9, &Config::set_momentum, "of momentum and nesterov");
  number("--beta1", 0.9, &Config::set_beta1, "of adam and adamw");
  number("--beta2", 0.999, &Config::set_beta2, "of adam and adamw");
  number("--epsilon", 1e-8, &Config::set_epsilon, "of adam, adamw and adagrad");
  number("--weight-decay", 0, &Config::set_weight_decay, "L2; decoupled for adamw");
  count("--warmup-rounds", 0, &Config::set_warmup_rounds, "rounds of linear warm-up");
  count("--schedule-step-rounds", 1000, &Config::set_schedule_step_rounds, "step: rounds between two drops");
  number("--schedule-gamma", 0.1, &Config::set_schedule_gamma, "step: factor of a drop");
  count("--schedule-total-rounds", 1000, &Config::set_schedule_total_rounds, "cosine: length, the warm-up included");
  number("--schedule-min-lr", 0, &Config::set_schedule_min_lr, "cosine: where it ends");
}

void AddPolicy(CLI::App& app, core::RoundPolicy& policy) {
  constexpr const char* kGroup = "Round policy (read by shard 0)";
  using Kind = core::RoundPolicy::Kind;
  app.add_option("--policy", policy.kind,
                 "whose contributions make a round. all: every worker's; quorum: the first --contributors that are "
                 "whole on every shard; deadline: those that are --deadline after the first one, but at least "
                 "--contributors. Who is too late is told, and goes on from the newer version")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Kind>{{"all", Kind::kAll}, {"quorum", Kind::kQuorum}, {"deadline", Kind::kDeadline}}))
      ->default_str("all")
      ->group(kGroup);
  app.add_option("--contributors", policy.contributors, "how many make a round, or make one at least")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option_function<std::string>(
         "--deadline",
         [&policy](const std::string& text) {
           const bool parsed = absl::ParseDuration(text, &policy.deadline);
           if (parsed && policy.deadline >= absl::Milliseconds(1) && policy.deadline <= absl::Hours(24)) return;
           throw CLI::ValidationError(
               "--deadline", absl::StrCat("expected a duration from 1ms to 24h, such as 500ms, but got '", text, "'"));
         },
         "how long stragglers are waited for once the first contribution is there")
      ->group(kGroup);
}

void AddElastic(CLI::App& app, ServerFlags& flags) {
  constexpr const char* kGroup = "Elastic membership (read by shard 0)";
  app.add_option(
         "--max-workers", flags.max_workers,
         "how many workers may be in the run at a time: more than --workers may join while it runs; 0: --workers")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--min-workers", flags.min_workers,
                 "with how few the run goes on when others are lost for --replace-timeout; 0: --workers")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option_function<std::string>(
         "--replace-timeout",
         [&flags](const std::string& text) {
           const bool parsed = absl::ParseDuration(text, &flags.replace_timeout);
           if (parsed && flags.replace_timeout >= absl::ZeroDuration()) return;
           throw CLI::ValidationError("--replace-timeout",
                                      absl::StrCat("expected a duration, such as 60s, but got '", text, "'"));
         },
         "how long a lost worker's rank waits for a replacement before the run goes on without it")
      ->default_str("inf")
      ->group(kGroup);
}

void AddSettings(CLI::App& app, ServerFlags& flags) {
  app.add_option_function<std::string>(
         "--lease",
         [&flags](const std::string& text) {
           const bool parsed = absl::ParseDuration(text, &flags.lease);
           if (parsed && flags.lease >= absl::Milliseconds(500) && flags.lease <= absl::Hours(1)) return;
           throw CLI::ValidationError(
               "--lease", absl::StrCat("expected a duration from 500ms to 1h, such as 5s, but got '", text, "'"));
         },
         "how long a worker is believed alive after its last heartbeat")
      ->default_str("5s");
  app.add_option_function<std::string>(
         "--grace",
         [&flags](const std::string& text) {
           const bool parsed = absl::ParseDuration(text, &flags.grace);
           if (parsed && flags.grace >= absl::Seconds(1) && flags.grace <= absl::Hours(1)) return;
           throw CLI::ValidationError(
               "--grace", absl::StrCat("expected a duration from 1s to 1h, such as 10s, but got '", text, "'"));
         },
         "after SIGTERM: how long until the process has ended at the latest; the round in progress may have 2 s less "
         "to end")
      ->default_str("10s");
  app.add_option("--after-run", flags.after_run,
                 "when every worker has left: exit, or serve what came of the run (status, fingerprint, export; also "
                 "after a restart) until SIGTERM")
      ->transform(CLI::CheckedTransformer(std::map<std::string, service::AfterRun>{
          {"exit", service::AfterRun::kExit}, {"serve", service::AfterRun::kServe}}))
      ->default_str("exit");
  app.add_option("--block-elements", flags.block_elements, "elements of a block; 0: chosen for the model")
      ->check(CLI::Range(uint64_t{0}, uint64_t{8} << 20))
      ->capture_default_str();
  app.add_option("--connections", flags.connections, "TCP connections between a worker and a shard")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--credit-bytes", flags.credit_bytes,
                 "how far a worker may be ahead of a shard's reduction, per connection; bounds the shard's memory; 0: "
                 "two blocks. Without effect if --policy is not all")
      ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 40))
      ->capture_default_str();
  app.add_flag("--checksums,!--no-checksums", flags.checksums, "payloads on the wire carry XXH3-64 checksums");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warn or error")->capture_default_str();
  app.add_option("--log-file", flags.log_file, "append the log here instead of stderr");
}

void AddNanPolicy(CLI::App& app, ServerFlags& flags) {
  const std::map<std::string, core::NanPolicy> names = {
      {"fail", core::NanPolicy::kFail}, {"drop", core::NanPolicy::kDrop}, {"allow", core::NanPolicy::kAllow}};
  app.add_option("--nan-policy", flags.nan_policy,
                 "when a contribution has a NaN or an infinity: fail: the run ends, and says who and where; drop: that "
                 "rank does "
                 "not count in that round, on all shards; allow: it goes into the model (read by shard 0)")
      ->transform(CLI::CheckedTransformer(names))
      ->default_str("fail");
  app.add_option_function<std::string>(
         "--linger",
         [&flags](const std::string& text) {
           const bool parsed = absl::ParseDuration(text, &flags.linger);
           if (parsed && flags.linger >= absl::ZeroDuration() && flags.linger <= absl::Hours(24 * 7)) return;
           throw CLI::ValidationError(
               "--linger", absl::StrCat("expected a duration from 0s to 168h, such as 60s, but got '", text, "'"));
         },
         "how long servers stay after a run that has failed for a NaN or an infinity, for status, fingerprint and "
         "export "
         "(read by shard 0)")
      ->default_str("60s");
}

void AddDurability(CLI::App& app, ServerFlags& flags) {
  const std::map<std::string, core::Durability> names = {{"journal", core::Durability::kJournal},
                                                         {"checkpoint", core::Durability::kCheckpoint},
                                                         {"memory", core::Durability::kNone}};
  app.add_option(
         "--durability", flags.durability,
         "journal: every round is on disk before workers hold it, and survives kill -9 of any processes; checkpoint: "
         "when a shard dies, the run goes back to the newest checkpoint; memory: it fails")
      ->transform(CLI::CheckedTransformer(names))
      ->default_str("journal")
      ->group("Durability");
  app.add_option("--data-dir", flags.data_dir, "this shard's own folder for what must outlive its process")
      ->group("Durability");
  app.add_option_function<std::string>(
         "--fsync", [&flags](const std::string& when) { flags.sync_rounds = when == "round"; },
         "never: a round survives kill -9, but not the loss of power; round: that, too")
      ->check(CLI::IsMember({"never", "round"}))
      ->default_str("never")
      ->group("Durability");
  app.add_option("--checkpoint-rounds", flags.checkpoint_rounds,
                 "a checkpoint every so many rounds, after which the journal begins anew; 0: chosen so that the "
                 "journal stays small (read by shard 0)")
      ->capture_default_str()
      ->group("Durability");
  app.add_option_function<std::string>(
         "--checkpoint-interval",
         [&flags](const std::string& text) {
           const bool parsed = absl::ParseDuration(text, &flags.checkpoint_interval);
           if (parsed && flags.checkpoint_interval >= absl::Milliseconds(100)) return;
           throw CLI::ValidationError(
               "--checkpoint-interval",
               absl::StrCat("expected a duration of at least 100ms, such as 10m, but got '", text, "'"));
         },
         "and a checkpoint so long after the one before (read by shard 0)")
      ->default_str("none")
      ->group("Durability");
  app.add_option("--keep-checkpoints", flags.keep_checkpoints, "how many checkpoints of the run stay (read by shard 0)")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group("Durability");
  app.add_option("--journal-segment-bytes", flags.journal_segment_bytes,
                 "size of a file of the journal; one takes at least two rounds")
      ->check(CLI::Range(uint64_t{4096}, uint64_t{1} << 40))
      ->capture_default_str()
      ->group("Durability");
  app.add_option("--checkpoint-dir", flags.checkpoint_dir,
                 "where checkpoints go; may be one folder for all shards (default: checkpoints in --data-dir)")
      ->group("Durability");
}

void AddRestore(CLI::App& app, ServerFlags& flags) {
  app.add_option("--restore", flags.restore,
                 "begin a new run with this, which all shards must see at the same path: the folder of a checkpoint, a "
                 "folder of checkpoints (the newest whole one), 'latest' (the same of --checkpoint-dir), or a "
                 ".safetensors file with the model's tensors (read by shard 0; a run that goes on ignores it)")
      ->group("Durability");
}

void AddTesting(CLI::App& app, ServerFlags& flags) {
  app.add_option("--fail-point", flags.fail_point,
                 "NAME@N: the process kills itself (kill -9) when it comes by this place for the N-th time")
      ->group("Testing");
  app.add_flag_callback(
         "--list-fail-points",
         [] {
           for (const std::string& name : FailPointNames()) std::cout << name << "\n";
           throw CLI::Success();
         },
         "print the places that --fail-point knows, and end")
      ->group("Testing");
}

absl::Status Check(const ServerFlags& flags) {
  if (absl::Status status = service::FromProto(flags.optimizer).status(); !status.ok()) return status;
  if (flags.policy.kind == core::RoundPolicy::Kind::kDeadline && flags.policy.deadline == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError("--policy deadline needs --deadline DURATION, such as 500ms");
  }
  // An excluded rank would be counted as a contributor by the decision, and its bad contribution make a round alone.
  if (flags.policy.decides() && flags.nan_policy == core::NanPolicy::kDrop) {
    return absl::InvalidArgumentError("--nan-policy drop works with --policy all only; use fail or allow");
  }
  if (flags.place.shard_index == 0) {
    if (flags.min_workers > flags.place.workers) {
      return absl::InvalidArgumentError(absl::StrCat("--min-workers ", flags.min_workers, " is more than --workers ",
                                                     flags.place.workers, ", with which the run starts"));
    }
    if (flags.max_workers > 0 && flags.max_workers < flags.place.workers) {
      return absl::InvalidArgumentError(absl::StrCat("--max-workers ", flags.max_workers, " is less than --workers ",
                                                     flags.place.workers, ", with which the run starts"));
    }
    const uint32_t most = std::max(flags.place.workers, flags.max_workers);
    if (absl::Status status = core::CheckPolicy(flags.policy, most); !status.ok()) return status;
  }
  if (absl::Status status = MakeFailPoint(flags.fail_point).status(); !status.ok()) return status;
  if (flags.durability != core::Durability::kNone && flags.data_dir.empty()) {
    return absl::InvalidArgumentError(
        "--data-dir DIR is needed, a folder of this shard's own that a restart finds again (or --durability memory, "
        "with "
        "which the run fails when a shard dies)");
  }
  if (flags.durability == core::Durability::kNone && !flags.restore.empty()) {
    return absl::InvalidArgumentError("--restore needs --data-dir, not --durability memory: what is restored is kept");
  }
  return absl::OkStatus();
}

// What was given, and would be silently ignored.
absl::Status CheckEffect(const CLI::App& app, const ServerFlags& flags) {
  using Kind = core::RoundPolicy::Kind;
  const auto given = [&](const char* name) { return app.get_option(name)->count() > 0; };
  const bool all = flags.policy.kind == Kind::kAll;
  if (all && given("--contributors")) {
    return absl::InvalidArgumentError(
        "--contributors has no effect under --policy all, which waits for every worker: add --policy quorum (or "
        "deadline), or leave it out");
  }
  if (flags.policy.kind != Kind::kDeadline && given("--deadline")) {
    return absl::InvalidArgumentError("--deadline has no effect without --policy deadline: add that, or leave it out");
  }
  const bool may_shrink = flags.min_workers > 0 && flags.min_workers < flags.place.workers;
  const bool waits = !may_shrink && flags.max_workers <= flags.place.workers;
  if (flags.place.shard_index == 0 && waits && given("--replace-timeout")) {
    return absl::InvalidArgumentError(
        "--replace-timeout has no effect without --min-workers below --workers (or --max-workers above): a lost worker "
        "is waited for. Add that, or leave it out");
  }
  return absl::OkStatus();
}

// Found in more places than one variable each.
const std::vector<std::string>& PlaceFlags() {
  static const auto* flags =
      new std::vector<std::string>{"shard-index", "shards", "workers", "bind", "advertise", "coordinator"};
  return *flags;
}

std::vector<std::string> NotByVariable() {
  std::vector<std::string> flags = PlaceFlags();
  flags.push_back("list-fail-points");
  return flags;
}

// Adds everything to `app`.
void AddAll(CLI::App& app, GivenServerPlace& given, ServerFlags& flags) {
  AddPlace(app, given, flags);
  AddOptimizer(app, flags.optimizer);
  AddPolicy(app, flags.policy);
  AddElastic(app, flags);
  AddSettings(app, flags);
  AddNanPolicy(app, flags);
  AddDurability(app, flags);
  AddRestore(app, flags);
  AddTesting(app, flags);
  app.footer(kExitCodeHelp);
}

constexpr char kDescription[] = "One shard of a Lockstep parameter server. Shard 0 also hosts the coordinator.";

}  // namespace

bool ParseServerFlags(int argc, const char* const* argv, const Surroundings& surroundings, ServerFlags& flags,
                      int& exit_code) {
  CLI::App app(kDescription, "lockstep-server");
  GivenServerPlace given;
  AddAll(app, given, flags);
  if (!ParseCommandLine(app, argc, argv, surroundings, NotByVariable(), exit_code)) return false;
  absl::StatusOr<ServerPlace> place = FindServerPlace(given, surroundings);
  absl::Status status = place.status();
  if (status.ok()) flags.place = *std::move(place);
  if (status.ok()) status = Check(flags);
  if (status.ok()) status = CheckEffect(app, flags);
  if (status.ok()) return true;
  std::cerr << "lockstep-server: " << status.message() << "\nRun with --help for more information.\n";
  exit_code = static_cast<int>(ExitCode::kUsage);
  return false;
}

std::vector<std::string> ServerFlagsByVariable() {
  CLI::App app(kDescription, "lockstep-server");
  GivenServerPlace given;
  ServerFlags flags;
  AddAll(app, given, flags);
  std::vector<std::string> names = SettableByVariable(app, NotByVariable());
  names.insert(names.end(), PlaceFlags().begin(), PlaceFlags().end());
  return names;
}

}  // namespace lockstep
