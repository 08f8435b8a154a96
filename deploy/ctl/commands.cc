#include "deploy/ctl/commands.h"

#include <unistd.h>

#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "deploy/ctl/checkpoint_command.h"
#include "deploy/ctl/control_client.h"
#include "deploy/ctl/paint.h"
#include "deploy/ctl/status_json.h"
#include "deploy/ctl/status_text.h"
#include "deploy/ctl/tables.h"
#include "deploy/ctl/wait_command.h"
#include "deploy/ctl/watch.h"

namespace lockstep::ctl {
namespace {

Look Failed(const absl::Status& status) {
  return {.text = "", .error = std::string(status.message()), .exit_code = ExitCodeFor(status)};
}

std::string JsonText(const Options& options, const Json& json) {
  // A stream of looks is a line each, for jq and the like.
  return Dump(json, options.watch ? -1 : 2) + "\n";
}

std::string StatusPage(const v1::Status& status, Width width, const Paint& paint) {
  const std::string page = StatusText(status, paint);
  if (width == Width::kNarrow) return page;
  return absl::StrCat(page, "\n", WorkersTable(status, width, paint), "\n", ShardsTable(status, width, paint));
}

std::string AsText(const Options& options, const v1::Status& status) {
  const Paint paint = Paint::For(STDOUT_FILENO);
  const Width width = options.output == Output::kWide ? Width::kWide : Width::kNarrow;
  switch (options.command) {
    case Command::kWorkers:
      return WorkersTable(status, width, paint);
    case Command::kShards:
      return ShardsTable(status, width, paint);
    case Command::kRounds:
      return RoundsTable(status, options.rounds, width, paint);
    default:
      return StatusPage(status, width, paint);
  }
}

Json AsJson(const Options& options, const v1::Status& status) {
  switch (options.command) {
    case Command::kWorkers:
      return WorkersJson(status);
    case Command::kShards:
      return ShardsJson(status);
    case Command::kRounds:
      return RoundsJson(status);
    default:
      return StatusJson(status);
  }
}

bool IsOver(const v1::Status& status) {
  return status.state() == v1::Status::DONE || status.state() == v1::Status::FAILED;
}

// Tables only show; `status` also judges.
ExitCode JudgeStatus(const Options& options, const v1::Status& status) {
  return options.command == Command::kStatus && !status.healthy() ? kNo : kFine;
}

void KeepRounds(uint32_t most, v1::Status& status) {
  auto* rounds = status.mutable_rounds();
  if (rounds->size() > static_cast<int>(most))
    rounds->DeleteSubrange(static_cast<int>(most), rounds->size() - static_cast<int>(most));
}

Look LookAtStatus(const Options& options, ControlClient& client) {
  // One more, which tells whether the generation changed within the last one shown.
  auto status = client.GetStatus(options.rounds + 1, options.timeout_or(kDefaultTimeout));
  if (!status.ok()) return Failed(status.status());
  if (options.command != Command::kRounds || options.output == Output::kJson) KeepRounds(options.rounds, *status);
  return {
      .text = options.output == Output::kJson ? JsonText(options, AsJson(options, *status)) : AsText(options, *status),
      .error = "",
      .exit_code = JudgeStatus(options, *status),
      .last = IsOver(*status)};
}

struct ProbeWords {
  const char* yes;
  const char* no;
};

ProbeWords WordsOf(Probe probe) {
  switch (probe) {
    case Probe::kStartup:
      return {"started", "not started"};
    case Probe::kLive:
      return {"live", "not live"};
    default:
      return {"ready", "not ready"};
  }
}

bool AnswerTo(Probe probe, const v1::HealthReply& health) {
  switch (probe) {
    case Probe::kStartup:
      return health.started();
    case Probe::kLive:
      return health.live();
    default:
      return health.ready();
  }
}

std::string HealthText(const Options& options, const v1::HealthReply& health) {
  if (options.output == Output::kJson) {
    return JsonText(options, {{"started", health.started()},
                              {"live", health.live()},
                              {"ready", health.ready()},
                              {"message", health.message()}});
  }
  const ProbeWords words = WordsOf(options.probe);
  return absl::StrCat(AnswerTo(options.probe, health) ? words.yes : words.no, health.message().empty() ? "" : ": ",
                      health.message(), "\n");
}

Look LookAtHealth(const Options& options, ControlClient& client) {
  const auto health = client.GetHealth(options.timeout_or(kHealthTimeout));
  if (!health.ok()) return Failed(health.status());
  return {
      .text = HealthText(options, *health), .error = "", .exit_code = AnswerTo(options.probe, *health) ? kFine : kNo};
}

Look Evict(const Options& options, ControlClient& client) {
  const auto reply = client.Evict(options.rank, options.timeout_or(kDefaultTimeout));
  if (!reply.ok()) return Failed(reply.status());
  const std::string text =
      options.output == Output::kJson
          ? JsonText(options, {{"rank", options.rank}, {"name", reply->name()}})
          : absl::StrCat("evicted ", reply->name(), ": rank ", options.rank, " is free for a replacement\n");
  return {.text = text, .error = "", .exit_code = kFine};
}

ExitCode ShowOnceOrWatch(const Options& options, const std::function<Look()>& take_look) {
  if (options.watch) return Watch(*options.watch, take_look);
  const Look look = take_look();
  Show(look);
  return look.exit_code;
}

}  // namespace

ExitCode RunControlCommand(const Options& options) {
  ControlClient client(options.endpoint);
  switch (options.command) {
    case Command::kWait:
      return RunWait(options, client);
    case Command::kCheckpoint:
      return RunCheckpoint(options, client);
    case Command::kEvict: {
      const Look look = Evict(options, client);
      Show(look);
      return look.exit_code;
    }
    case Command::kHealth:
      return ShowOnceOrWatch(options, [&] { return LookAtHealth(options, client); });
    default:
      return ShowOnceOrWatch(options, [&] { return LookAtStatus(options, client); });
  }
}

}  // namespace lockstep::ctl
