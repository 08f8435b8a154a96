// What the command line asks for.
#ifndef LOCKSTEP_DEPLOY_CTL_OPTIONS_H_
#define LOCKSTEP_DEPLOY_CTL_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/time/time.h"
#include "deploy/ctl/exit_codes.h"

namespace lockstep::ctl {

enum class Command {
  kStatus,
  kWorkers,
  kShards,
  kRounds,
  kWait,
  kFingerprint,
  kExport,
  kEvict,
  kCheckpoint,
  kHealth,
};

// What `health` asks for.
enum class Probe {
  kStartup,  // has it recovered what it had, and does it listen?
  kReady,    // is it registered with the coordinator, and not stopping?
  kLive,     // does its own event loop turn?
};

enum class Output { kTable, kWide, kJson };

struct Options {
  Command command = Command::kStatus;
  std::string endpoint;                   // HOST:PORT; empty only for `fingerprint --file`
  bool nobody_gave_endpoint = false;      // it is kDefaultEndpoint
  std::optional<absl::Duration> timeout;  // absent: what suits the command
  Output output = Output::kTable;
  std::optional<absl::Duration> watch;  // repeat at this interval

  uint32_t rounds = 10;             // status, rounds: how many recent rounds
  std::optional<uint64_t> version;  // wait (always set), fingerprint, export
  std::string file;                 // fingerprint --file, export FILE
  uint32_t rank = 0;                // evict
  Probe probe = Probe::kReady;      // health

  // For a question that needs one answer.
  absl::Duration timeout_or(absl::Duration other) const { return timeout.value_or(other); }
};

// The server knows no more.
inline constexpr uint32_t kMostRounds = 256;

// Of the shard in the same pod.
inline constexpr char kDefaultEndpoint[] = "127.0.0.1:7700";

inline constexpr absl::Duration kDefaultTimeout = absl::Seconds(5);
inline constexpr absl::Duration kHealthTimeout = absl::Seconds(1);

// The options, or the code to exit with at once: help was asked for (and is on stdout), or the
// usage is wrong (and stderr says how). Reads LOCKSTEP_ENDPOINT and the endpoint's file, if that
// is what is given; with --watch, blocks until there is such a file.
std::variant<Options, ExitCode> ParseOptions(int argc, const char* const* argv);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_OPTIONS_H_
