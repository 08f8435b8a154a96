#include "server/service/memory_bound.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace lockstep::service {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr uint64_t kOfConnection = 8 * kMebibyte;
constexpr uint64_t kOfProcess = 96 * kMebibyte;
constexpr uint64_t kReadersVersions = 2;
constexpr uint64_t kGroup = 8;

std::string Size(uint64_t bytes) {
  const double megabytes = static_cast<double>(bytes) / 1e6;
  return megabytes < 1000 ? absl::StrFormat("%.1f MB", megabytes) : absl::StrFormat("%.2f GB", megabytes / 1000);
}

}  // namespace

uint64_t MemoryBound::total() const {
  return versions + state + gradient + checkpoint + slow_streams + readers + contributions + group_sums + connections +
         process;
}

uint64_t CreditOfWorker(const MemoryNeeds& needs) {
  return needs.connections * std::max(needs.credit_bytes, needs.largest_block_bytes);
}

MemoryBound BoundOf(const MemoryNeeds& needs) {
  const uint64_t parameters = needs.parameter_bytes;
  const uint64_t copies = 1 + needs.state_slots + (needs.state_slots > 0 ? 1 : 0);
  // Nobody can be further ahead than the whole contribution.
  const uint64_t ahead = std::min(CreditOfWorker(needs), parameters);
  const uint64_t groups = (needs.workers + kGroup - 1) / kGroup;
  return {.versions = 2 * parameters,
          .state = needs.state_slots * parameters,
          .gradient = needs.state_slots > 0 ? parameters : 0,
          .checkpoint = needs.checkpoints ? copies * parameters : 0,
          .slow_streams = parameters,
          .readers = kReadersVersions * parameters,
          .contributions = needs.workers * ahead,
          .group_sums = groups > 1 ? groups * ahead : 0,
          .connections = uint64_t{needs.workers} * needs.connections * kOfConnection,
          .process = kOfProcess};
}

std::string Arithmetic(const MemoryBound& bound) {
  const std::vector<std::pair<const char*, uint64_t>> terms = {
      {"versions", bound.versions},           {"optimizer state", bound.state},
      {"gradient", bound.gradient},           {"checkpoint", bound.checkpoint},
      {"slow streams", bound.slow_streams},   {"readers", bound.readers},
      {"contributions", bound.contributions}, {"sums of groups", bound.group_sums},
      {"connections", bound.connections},     {"process", bound.process}};
  std::vector<std::string> parts;
  for (const auto& [name, bytes] : terms) {
    if (bytes > 0) parts.push_back(absl::StrCat(Size(bytes), " ", name));
  }
  return absl::StrCat(Size(bound.total()), " = ", absl::StrJoin(parts, " + "));
}

absl::Status CheckFits(const MemoryBound& bound, uint64_t machine_bytes) {
  if (bound.total() <= machine_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the model does not fit: this shard may need ", Arithmetic(bound),
                                                   ", but has ", Size(machine_bytes),
                                                   "; use more shards, or give it more memory"));
}

}  // namespace lockstep::service
