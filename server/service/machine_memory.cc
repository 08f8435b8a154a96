#include "server/service/machine_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace lockstep::service {
namespace {

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// The number that is the first word of the file; "max", or no such file: no limit.
uint64_t ReadLimit(const std::string& path) {
  std::string word;
  uint64_t bytes = 0;
  if (!(std::ifstream(path) >> word) || !absl::SimpleAtoi(word, &bytes)) return kNoLimit;
  return bytes;
}

// The least limit of a group and all above it. In a container the path may be the host's: then only the folder itself,
// which is this container's group, is there.
uint64_t LeastLimit(const std::string& mount, std::string group, const std::string& file) {
  uint64_t least = ReadLimit(absl::StrCat(mount, "/", file));
  for (; group.size() > 1; group.resize(group.rfind('/'))) {
    least = std::min(least, ReadLimit(absl::StrCat(mount, group, "/", file)));
  }
  return least;
}

uint64_t LimitOfGroups(const std::string& root) {
  uint64_t least = kNoLimit;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "5:memory,cpu:/path", or "0::/path" for version 2
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3 || fields[2].empty() || fields[2][0] != '/') continue;
    const std::vector<std::string> controllers = absl::StrSplit(fields[1], ',');
    if (fields[1].empty()) {
      least = std::min(least, LeastLimit(root + "/sys/fs/cgroup", fields[2], "memory.max"));
    } else if (std::find(controllers.begin(), controllers.end(), "memory") != controllers.end()) {
      least = std::min(least, LeastLimit(root + "/sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes"));
    }
  }
  return least;
}

uint64_t TotalOfMachine(const std::string& root) {
  std::ifstream info(root + "/proc/meminfo");
  for (std::string line; std::getline(info, line);) {  // "MemTotal:       24610308 kB"
    absl::string_view rest = line;
    uint64_t kibibytes = 0;
    if (!absl::ConsumePrefix(&rest, "MemTotal:") || !absl::ConsumeSuffix(&rest, "kB")) continue;
    if (absl::SimpleAtoi(rest, &kibibytes)) return kibibytes << 10;
  }
  return kNoLimit;
}

}  // namespace

uint64_t MachineMemory(const std::string& root) { return std::min(TotalOfMachine(root), LimitOfGroups(root)); }

}  // namespace lockstep::service
