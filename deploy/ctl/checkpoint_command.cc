#include "deploy/ctl/checkpoint_command.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "deploy/ctl/status_json.h"

namespace lockstep::ctl {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr absl::Duration kLook = absl::Milliseconds(200);

ExitCode Complain(absl::string_view what, ExitCode code) {
  std::cerr << "lockstepctl: " << what << "\n";
  return code;
}

void Print(const Options& options, const v1::CheckpointStatus& checkpoints) {
  if (options.output == Output::kJson) {
    const Json json = {{"version", checkpoints.newest_version()}, {"folder", checkpoints.folder()}};
    std::cout << Dump(json, 2) << "\n";
  } else {
    std::cout << "checkpoint of version " << checkpoints.newest_version() << " in " << checkpoints.folder() << "\n";
  }
}

}  // namespace

std::optional<CheckpointVerdict> JudgeCheckpoint(const v1::CheckpointStatus& before, const v1::Status& now) {
  const v1::CheckpointStatus& checkpoints = now.checkpoints();
  if (checkpoints.finished() > before.finished()) return CheckpointVerdict{};
  if (checkpoints.finished() < before.finished() || checkpoints.failures() < before.failures()) {
    return CheckpointVerdict{kNo, "the coordinator was restarted meanwhile: ask again"};
  }
  if (checkpoints.failures() > before.failures()) {
    return CheckpointVerdict{kNo, absl::StrCat("the checkpoint was given up: ", checkpoints.trouble())};
  }
  if (now.state() == v1::Status::DONE || now.state() == v1::Status::FAILED) {
    return CheckpointVerdict{kNo, absl::StrCat("the run has ended before its next version was there: ", now.summary())};
  }
  return std::nullopt;
}

ExitCode RunCheckpoint(const Options& options, ControlClient& client) {
  const absl::Duration patience = options.timeout_or(kPatience);
  const absl::Time deadline = absl::Now() + patience;
  const auto asked = client.TakeCheckpoint(std::min(patience, kDefaultTimeout));
  if (!asked.ok()) return Complain(asked.status().message(), ExitCodeFor(asked.status()));
  while (true) {
    const auto status = client.GetStatus(0, kDefaultTimeout);
    if (!status.ok()) return Complain(status.status().message(), ExitCodeFor(status.status()));
    if (const std::optional<CheckpointVerdict> verdict = JudgeCheckpoint(asked->before(), *status)) {
      if (!verdict->error.empty()) return Complain(verdict->error, verdict->exit_code);
      Print(options, status->checkpoints());
      return kFine;
    }
    if (absl::Now() >= deadline) {
      const v1::CheckpointStatus& checkpoints = status->checkpoints();
      return Complain(absl::StrCat("no checkpoint after ", absl::FormatDuration(patience), ": ",
                                   checkpoints.has_target()
                                       ? absl::StrCat("it will be of version ", checkpoints.target_version(), "; ")
                                       : "",
                                   status->summary()),
                      kNo);
    }
    absl::SleepFor(kLook);
  }
}

}  // namespace lockstep::ctl
