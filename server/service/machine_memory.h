// How much memory this process may use: the least of the machine's and of the limits of the control groups that it is
// in (version 1 and 2), theirs above it included.
//
// Thread-safety: reads files; from any thread.
#ifndef LOCKSTEP_SERVER_SERVICE_MACHINE_MEMORY_H_
#define LOCKSTEP_SERVER_SERVICE_MACHINE_MEMORY_H_

#include <cstdint>
#include <string>

namespace lockstep::service {

// In bytes. `root` is put before the paths of /proc and /sys, for tests. What cannot be read counts as no limit; if
// nothing can, the answer is 2^64 - 1.
uint64_t MachineMemory(const std::string& root = "");

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_MACHINE_MEMORY_H_
