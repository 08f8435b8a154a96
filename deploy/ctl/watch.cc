#include "deploy/ctl/watch.h"

#include <unistd.h>

#include <iostream>

#include "absl/time/clock.h"

namespace lockstep::ctl {
namespace {

constexpr char kClearScreen[] = "\x1b[H\x1b[2J";

}  // namespace

void Show(const Look& look) {
  std::cout << look.text << std::flush;
  if (!look.error.empty()) std::cerr << "lockstepctl: " << look.error << "\n";
}

ExitCode Watch(absl::Duration interval, const std::function<Look()>& take_look) {
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  for (absl::Time next = absl::Now();; next += interval) {
    const Look look = take_look();
    if (terminal) std::cout << kClearScreen;
    Show(look);
    if (look.last || !std::cout) return look.exit_code;
    absl::SleepFor(next + interval - absl::Now());
  }
}

}  // namespace lockstep::ctl
