// Asks a run for one checkpoint after the other, while it is told to. One process for all of them: a program that
// starts for each would take the processor from the rounds that are timed.
//
//   ask_checkpoints --coordinator HOST:PORT
//
// A line `ask` on standard input begins it; a line `stop` has it ask for no more, wait for the last one and print
//
//   checkpoints n         how many were written since `ask`
//
// When anything is wrong, it prints `error ...` on standard output and exits with 1.
#include <CLI/CLI.hpp>
#include <atomic>
#include <iostream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/logging.h"
#include "deploy/ctl/checkpoint_command.h"
#include "deploy/ctl/control_client.h"

namespace lockstep {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(1);

absl::Status TakeOne(ctl::ControlClient& client) {
  constexpr absl::Duration kLook = absl::Milliseconds(50);
  const absl::StatusOr<v1::CheckpointReply> asked = client.TakeCheckpoint(kPatience);
  if (!asked.ok()) return asked.status();
  for (const absl::Time deadline = absl::Now() + kPatience; absl::Now() < deadline; absl::SleepFor(kLook)) {
    const absl::StatusOr<v1::Status> status = client.GetStatus(0, kPatience);
    if (!status.ok()) return status.status();
    const std::optional<ctl::CheckpointVerdict> verdict = ctl::JudgeCheckpoint(asked->before(), *status);
    if (verdict) return verdict->error.empty() ? absl::OkStatus() : absl::InternalError(verdict->error);
  }
  return absl::DeadlineExceededError(absl::StrCat("no checkpoint within ", absl::FormatDuration(kPatience)));
}

absl::StatusOr<int> TakeUntil(const std::atomic<bool>& stopped, ctl::ControlClient& client) {
  int taken = 0;
  for (; !stopped; ++taken) {
    if (absl::Status status = TakeOne(client); !status.ok()) return status;
  }
  return taken;
}

absl::Status Run(const std::string& coordinator) {
  ctl::ControlClient client(coordinator);
  for (std::string line; std::getline(std::cin, line);) {
    if (line != "ask") return absl::InvalidArgumentError(absl::StrCat("expected `ask`, but read '", line, "'"));
    std::atomic<bool> stopped = false;
    absl::StatusOr<int> taken;
    std::thread asking([&] { taken = TakeUntil(stopped, client); });
    std::getline(std::cin, line);  // `stop`, or the end of the input
    stopped = true;
    asking.join();
    if (!taken.ok()) return taken.status();
    std::cout << "checkpoints " << *taken << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  CLI::App app("Asks for one checkpoint after the other");
  std::string coordinator;
  app.add_option("--coordinator", coordinator, "HOST:PORT of shard 0")->required();
  CLI11_PARSE(app, argc, argv);
  absl::Status status = lockstep::StartProcess("warn", "");
  if (status.ok()) status = lockstep::Run(coordinator);
  if (status.ok()) return 0;
  std::cout << "error " << status.ToString() << std::endl;
  return 1;
}
