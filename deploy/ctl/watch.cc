#include "deploy/ctl/watch.h"

#include <unistd.h>

#include <iostream>

#include "absl/time/clock.h"
#include "deploy/ctl/words.h"

namespace lockstep::ctl {
namespace {

constexpr char kClearScreen[] = "\x1b[H\x1b[2J";

// What was last known, below a failure that replaced it on the screen.
void ShowOld(const std::string& text, absl::Duration age) {
  if (text.empty()) return;
  std::cout << "\nThe last answer, " << FormatSeconds(absl::ToDoubleSeconds(age)) << " ago:\n" << text << std::flush;
}

}  // namespace

void Show(const Look& look) {
  std::cout << look.text << std::flush;
  if (!look.error.empty()) std::cerr << "lockstepctl: " << look.error << "\n";
}

ExitCode Watch(absl::Duration interval, const std::function<Look()>& take_look) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  std::string answer;
  absl::Time answered;
  for (absl::Time next = absl::Now();; next += interval) {
    const Look look = take_look();
    if (terminal) std::cout << kClearScreen;
    Show(look);
    if (look.error.empty()) {
      answer = look.text;
      answered = absl::Now();
    } else if (terminal) {
      ShowOld(answer, absl::Now() - answered);
    }
    if (look.last || !std::cout) return look.exit_code;
    absl::SleepFor(next + interval - absl::Now());
  }
}

}  // namespace lockstep::ctl
