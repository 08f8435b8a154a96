// How much memory a shard may come to need, whatever its workers and readers do; said before it is taken.
//
//   P  bytes of the shard's parameters        G  1 if the optimizer has state, else 0
//   S  optimizer's state, in copies of P      K  1 if versions are written as checkpoints, else 0
//   N  workers    C  connections of each      W  credit of a worker: C x max(credit of a connection, largest block)
//
//   versions        2 P            the one that workers hold, and the next
//   state           S P
//   gradient        G P            the effective gradient of the newest version, see README.md
//   checkpoint      K (1+S+G) P    the version that is being written, while rounds go on
//   slow streams    P              the version before, where a worker has not taken all of it (the one before ends it)
//   readers         2 P            versions that are gone but for them (Readers::kMostVersions)
//   contributions   N W            what workers are ahead
//   group sums      ceil(N/8) W    if N > 8: what stands for contributions already freed
//   connections     N C 8 MiB      what gRPC reads into, twice, and what it has read and not handed over
//   process         96 MiB         code, threads, and what the allocator keeps to itself
//
// The journal's blocks are those of the versions or the gradient, and its file is not memory of the process.
//
// Thread-safety: values and pure functions.
#ifndef LOCKSTEP_SERVER_SERVICE_MEMORY_BOUND_H_
#define LOCKSTEP_SERVER_SERVICE_MEMORY_BOUND_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace lockstep::service {

// A credit that nothing exceeds.
inline constexpr uint64_t kUnlimited = uint64_t{1} << 50;

// What the bound depends on.
struct MemoryNeeds {
  uint64_t parameter_bytes = 0;
  uint64_t largest_block_bytes = 0;
  uint32_t state_slots = 0;
  uint32_t workers = 1;
  uint32_t connections = 1;   // of each worker
  uint64_t credit_bytes = 0;  // of each connection
  bool checkpoints = false;
};

// In bytes.
struct MemoryBound {
  uint64_t versions = 0;
  uint64_t state = 0;
  uint64_t gradient = 0;
  uint64_t checkpoint = 0;
  uint64_t slow_streams = 0;
  uint64_t readers = 0;
  uint64_t contributions = 0;
  uint64_t group_sums = 0;
  uint64_t connections = 0;
  uint64_t process = 0;

  uint64_t total() const;
};

// W: how much of one worker's contribution a shard keeps at most.
uint64_t CreditOfWorker(const MemoryNeeds& needs);

MemoryBound BoundOf(const MemoryNeeds& needs);

// "0.40 GB = 0.20 GB versions + 0.10 GB readers + ..."; what is nothing is left out.
std::string Arithmetic(const MemoryBound& bound);

// RESOURCE_EXHAUSTED, with the arithmetic, when the bound is above `machine_bytes`.
absl::Status CheckFits(const MemoryBound& bound, uint64_t machine_bytes);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_MEMORY_BOUND_H_
