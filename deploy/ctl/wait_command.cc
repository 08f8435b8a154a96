#include "deploy/ctl/wait_command.h"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/time/clock.h"
#include "deploy/ctl/wait_verdict.h"
#include "deploy/ctl/words.h"

namespace lockstep::ctl {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(200);
// A shard that restarts is back by then.
constexpr absl::Duration kPatience = absl::Seconds(10);

ExitCode Complain(ExitCode code, const std::string& why) {
  std::cerr << "lockstepctl: " << why << "\n";
  return code;
}

ExitCode Report(const Options& options, const v1::Status& status) {
  if (options.output == Output::kJson) {
    const nlohmann::ordered_json json = {{"version", *options.version}, {"newest_version", status.version()}};
    std::cout << json.dump() << "\n";
  } else {
    std::cout << "version " << *options.version << " is complete on every shard (the newest is " << status.version()
              << ")\n";
  }
  return kFine;
}

// What is known between two questions.
struct Waiting {
  absl::Time start = absl::Now();
  absl::Time answered = start;  // last time that the endpoint answered
  absl::StatusOr<v1::Status> last = absl::UnavailableError("not asked yet");
  v1::Status last_answer;
  bool ever_answered = false;
};

void AskOnce(ControlClient& client, absl::Time deadline, Waiting& waiting) {
  const absl::Duration left = std::max(deadline - absl::Now(), absl::Milliseconds(50));
  waiting.last = client.GetStatus(/*rounds=*/0, std::min(left, kDefaultTimeout));
  if (!waiting.last.ok()) return;
  waiting.last_answer = *waiting.last;
  waiting.ever_answered = true;
  waiting.answered = absl::Now();
}

ExitCode TimedOut(const Options& options, const Waiting& waiting) {
  if (!waiting.ever_answered) {
    return Complain(kUnreachable, std::string(waiting.last.status().message()));
  }
  return Complain(kNo, WhyTimedOut(waiting.last_answer, *options.version, *options.timeout));
}

// The processes of a run end soon after its last version.
std::string LastAnswer(const Waiting& waiting) {
  if (!waiting.ever_answered) return "";
  return absl::StrCat(". When it last answered the run had version ", FormatVersion(waiting.last_answer),
                      "; if it has ended since, its results tell more");
}

// Nothing: ask again.
std::optional<ExitCode> Judge(const Options& options, absl::Time deadline, const Waiting& waiting) {
  const absl::Time now = absl::Now();
  if (waiting.last.ok()) {
    const WaitVerdict verdict = JudgeWait(*waiting.last, *options.version);
    if (verdict == WaitVerdict::kComplete) return Report(options, *waiting.last);
    if (verdict == WaitVerdict::kNever) {
      return Complain(kNo, WhyNever(*waiting.last, *options.version));
    }
  }
  if (now >= deadline) return TimedOut(options, waiting);
  if (now - waiting.answered < kPatience) return std::nullopt;
  return Complain(kUnreachable, absl::StrCat(waiting.last.status().message(), LastAnswer(waiting)));
}

}  // namespace

ExitCode RunWait(const Options& options, ControlClient& client) {
  Waiting waiting;
  const absl::Time deadline = waiting.start + options.timeout_or(absl::InfiniteDuration());
  for (;;) {
    AskOnce(client, deadline, waiting);
    if (std::optional<ExitCode> code = Judge(options, deadline, waiting)) return *code;
    absl::SleepFor(std::min(kPollInterval, deadline - absl::Now()));
  }
}

}  // namespace lockstep::ctl
