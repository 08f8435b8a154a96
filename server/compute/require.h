#ifndef LOCKSTEP_SERVER_COMPUTE_REQUIRE_H_
#define LOCKSTEP_SERVER_COMPUTE_REQUIRE_H_

#include <cstdio>
#include <cstdlib>

namespace lockstep::compute::internal {

// Aborts with `message` when `condition` does not hold. For what only a bug in the caller can
// cause; what the environment can cause is an absl::Status.
inline void Require(bool condition, const char* message) {
  if (condition) [[likely]] {
    return;
  }
  std::fprintf(stderr, "lockstep compute: %s\n", message);
  std::abort();
}

}  // namespace lockstep::compute::internal

#endif  // LOCKSTEP_SERVER_COMPUTE_REQUIRE_H_
