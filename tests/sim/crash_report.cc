#include "tests/sim/crash_report.h"

#include <csignal>
#include <cstdio>

namespace lockstep::sim {
namespace {

thread_local uint64_t seed_of_thread = 0;
thread_local bool running = false;

// The program is lost anyway, so that printf is good enough here.
void Report(int signal) {
  if (running) {
    std::printf(
        "VIOLATION in seed %llu: signal %d (an assertion in a core?)\n  repeat it: tests/sim/run --seed %llu --trace\n",
        static_cast<unsigned long long>(seed_of_thread), signal, static_cast<unsigned long long>(seed_of_thread));
    std::fflush(stdout);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

void InstallCrashReport() {
  std::signal(SIGABRT, Report);
  std::signal(SIGSEGV, Report);
}

SeedOfThread::SeedOfThread(uint64_t seed) {
  seed_of_thread = seed;
  running = true;
}

SeedOfThread::~SeedOfThread() { running = false; }

}  // namespace lockstep::sim
