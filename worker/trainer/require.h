// Abort on a caller's bug. What the environment can cause goes through absl::Status instead.
#ifndef WORKER_TRAINER_REQUIRE_H_
#define WORKER_TRAINER_REQUIRE_H_

#include <cstdio>
#include <cstdlib>

namespace lockstep::trainer {

// Ends the process with `what` on stderr unless `condition` holds. Stays on in optimized builds.
inline void Require(bool condition, const char* what) {
  if (condition) [[likely]]
    return;
  std::fprintf(stderr, "lockstep trainer: bug in the caller: %s\n", what);
  std::abort();
}

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_REQUIRE_H_
