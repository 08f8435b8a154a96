#include "tests/sim/occurrences.h"

#include <iterator>

#include "absl/strings/str_format.h"

namespace lockstep::sim {
namespace {

constexpr const char* kNames[] = {
    "worker crashed",
    "worker paused",
    "paused worker woke up fenced",
    "paused worker woke up in time",
    "lease expired",
    "lost worker came back",
    "replaced under the same name",
    "replaced under another name",
    "worker evicted",
    "worker started late",
    "worker started before a shard",
    "worker's coordinator stream broke",
    "shard's coordinator stream broke",
    "  while a generation was changing",
    "data stream broke",
    "stream broke as soon as it was opened",
    "shard paused",
    "end of an old stream ignored",
    "attach of an old stream ignored",
    "greeting of an old coordinator stream ignored",
    "contribution sent twice",
    "duplicate contribution ignored",
    "stale frame ignored",
    "frame of a dead incarnation arrived",
    "part of a round undone",
    "whole tentative version undone",
    "sealed while reducing",
    "version completed after the seal",
    "generation overtaken while sealing",
    "generation overtaken while installing",
    "version fetched by a replacement",
    "contribution sent again in a new generation",
    "missed frames replayed to a new stream",
    "generation announced again",
    "leave acknowledged again",
    "generation changed while a block was stored",
    "empty contribution",
    "weight 0 with a payload",
    "round without any weight",
    "grouped reduction",
    "shard without blocks",
    "worker with a wrong model refused",
    "worker of another run refused",
    "worker without a place refused",
    "shard restarted without its memory",
    "  and the run failed loudly",
    "  and nothing had been held yet",
    "  and nobody was left who had held anything",
};
static_assert(std::size(kNames) == static_cast<size_t>(Occurrence::kCount));

}  // namespace

void Occurrences::Add(const Occurrences& other) {
  for (size_t kind = 0; kind < counts_.size(); ++kind) counts_[kind] += other.counts_[kind];
}

std::string Occurrences::Table() const {
  std::string table;
  for (size_t kind = 0; kind < counts_.size(); ++kind) {
    absl::StrAppendFormat(&table, "%-46s %10u\n", kNames[kind], counts_[kind]);
  }
  return table;
}

std::vector<std::string> Occurrences::Never() const {
  std::vector<std::string> never;
  for (size_t kind = 0; kind < counts_.size(); ++kind) {
    const bool optional = kind == static_cast<size_t>(Occurrence::kShardLossUnseen);
    if (counts_[kind] == 0 && !optional) never.push_back(kNames[kind]);
  }
  return never;
}

}  // namespace lockstep::sim
