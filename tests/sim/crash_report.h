// Names the seed when an assertion in a core, or a signal, ends the whole program.
#ifndef LOCKSTEP_TESTS_SIM_CRASH_REPORT_H_
#define LOCKSTEP_TESTS_SIM_CRASH_REPORT_H_

#include <cstdint>

namespace lockstep::sim {

// From now on SIGABRT and SIGSEGV say which seed the thread was running. Thread-safety: call it once, from main.
void InstallCrashReport();

// While it lives, this thread runs that seed.
class SeedOfThread {
 public:
  explicit SeedOfThread(uint64_t seed);
  ~SeedOfThread();
  SeedOfThread(const SeedOfThread&) = delete;
  SeedOfThread& operator=(const SeedOfThread&) = delete;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_CRASH_REPORT_H_
