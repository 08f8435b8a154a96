// Identity: which shard or worker a process is, and under which addresses it and the others are found, from flags, the
// environment and the host's name. Places to look, in this order:
//
//   flags | LOCKSTEP_* | JOB_COMPLETION_INDEX (Indexed Job) | RANK, WORLD_SIZE (torchrun, PyTorchJob) |
//   PET_NODE_RANK, PET_NNODES (PyTorch elastic) | TF_CONFIG (TFJob) | the ordinal in a StatefulSet pod's host name
//
// The first that says something counts. What it says but cannot be understood is an error that names it; what a later
// one says otherwise is told and not used. An empty variable is like none.
//
// Thread-safety: functions. They read nothing but what they are given (Surroundings::OfThisProcess is what reads).
#ifndef LOCKSTEP_COMMON_IDENTITY_H_
#define LOCKSTEP_COMMON_IDENTITY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep {

// Of every address that names no port.
inline constexpr uint16_t kDefaultPort = 7700;

// What a process finds around it.
struct Surroundings {
  // The value of an environment variable. Absent: not set, or empty.
  std::function<std::optional<std::string>(const std::string&)> variable;
  std::string host;       // the host's name
  std::string full_host;  // with its domain, if the host knows that; else the same as `host`

  // Blocks for as long as the host takes to find its own name (in a pod: /etc/hosts).
  static Surroundings OfThisProcess();
};

// What the flags of a worker say; absent: nothing.
struct GivenWorkerPlace {
  std::optional<std::string> endpoint = {};
  std::optional<std::string> name = {};
  std::optional<uint32_t> rank = {};
  bool rank_from_hostname = false;  // this is a pod of a StatefulSet, whose ordinal is the rank
};

struct WorkerPlace {
  std::string endpoint;             // HOST:PORT of shard 0
  std::string name;                 // the same after a restart, where the surroundings make that possible
  std::optional<uint32_t> rank;     // absent: the coordinator gives one
  std::optional<uint32_t> workers;  // how many the run should have, if anything says so
  std::vector<std::string> found;   // for people: a line for each value, with its source
};

// INVALID_ARGUMENT: no endpoint is given, or a value cannot be understood; names the flag or variable.
absl::StatusOr<WorkerPlace> FindWorkerPlace(const GivenWorkerPlace& given, const Surroundings& surroundings);

// What the flags of a server say; absent: nothing.
struct GivenServerPlace {
  std::optional<uint32_t> shard_index = {};
  std::optional<uint32_t> shards = {};
  std::optional<uint32_t> workers = {};
  std::optional<std::string> coordinator = {};
  std::optional<std::string> bind = {};
  std::optional<std::string> advertise = {};
};

inline constexpr uint32_t kMostShards = 1024;
inline constexpr uint32_t kMostWorkers = 4096;

struct ServerPlace {
  uint32_t shard_index = 0;
  uint32_t shards = 1;
  uint32_t workers = 1;
  std::string bind;                // HOST:PORT; port 0 takes a free one
  std::string advertise;           // HOST or HOST:PORT; empty: follows from what is bound and advertise_host
  std::string advertise_host;      // under which others reach this host when it listens on all its addresses
  std::string coordinator;         // HOST:PORT of shard 0; may be empty on shard 0
  std::vector<std::string> found;  // for people: a line for each value, with its source
};

// INVALID_ARGUMENT: with several shards nothing says which one this is, or how to find shard 0; or a value cannot be
// understood; names the flag or variable.
absl::StatusOr<ServerPlace> FindServerPlace(const GivenServerPlace& given, const Surroundings& surroundings);

// "host" -> "host:7700", "[::1]" -> "[::1]:7700"; an address with a port as it is.
std::string WithPort(absl::string_view address, uint16_t port = kDefaultPort);

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_IDENTITY_H_
