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
    "shard crashed",
    "  while reducing",
    "  while journaling a round",
    "  while journaling an install",
    "  sealed, and not installed yet",
    "coordinator crashed",
    "  while persisting",
    "  with effects that waited for that",
    "  while sealing",
    "  while installing",
    "all processes crashed at once",
    "power loss",
    "record torn by a crash",
    "record under way at a crash, and whole",
    "record whole, but not acknowledged at a crash",
    "unsynced records all lost with the power",
    "unsynced records that survived it",
    "write that took seconds",
    "shard came back with its disk",
    "  and crashed again soon",
    "  with a tentative version",
    "  and there was nothing on it",
    "undo replayed",
    "round that changed nothing replayed",
    "restarted shard undid its tentative version",
    "restarted shard committed its tentative version",
    "restarted shard went on to train",
    "frame of an old generation at a restarted shard",
    "seal or install for another life of a shard",
    "coordinator came back with its disk",
    "  and there was nothing on it",
    "  to a run that had ended",
    "training worker welcomed by a new coordinator",
    "rank taken after a coordinator's restart",
    "worker fenced before a coordinator's restart",
    "version completed in different generations",
    "partition",
    "  of one direction",
    "  that healed before a stream broke",
    "  that broke a stream",
    "all processes paused at once",
    "round closed by a quorum, without somebody",
    "round closed by a deadline, without somebody",
    "round closed by decision, with everybody",
    "contribution dropped, a part of which had come",
    "contribution dropped that was whole on a shard",
    "contribution late",
    "version given to a rank that waited",
    "rank that waited on several shards given once",
    "worker went on from a version beyond the next",
    "contribution that did not count",
    "decided round of more than eight ranks",
    "decided version undone",
    "version made again of other ranks",
    "block came while its worker did not wait",
    "worker came on top of a running run",
    "  and became a member",
    "rank given up, and the run went on without it",
    "worker not replaced",
    "worker left early",
    "place of one that had left taken",
    "version made by fewer ranks than the run began with",
    "version made by more ranks than that",
    "wall clock jumped back",
    "wall clock jumped forth",
    "machine came back with another steady clock",
    "part of a checkpoint written",
    "version of a checkpoint missed by a shard",
    "checkpoint finished",
    "  while a generation was changing",
    "  of a history that was given up meanwhile",
    "old checkpoint removed",
    "journal let go of old records",
    "crash while a part was written",
    "crash after that, before the journal goes on from it",
    "crash while a manifest was written",
    "shard came back from its checkpoint and journal",
    "long journal compacted by a shard that came back",
    "run went back to a checkpoint",
    "  and a version was given up that was held",
    "  not for the first time",
    "  once more, before anybody had been told",
    "  with a policy that decides",
    "  in an elastic run",
    "  without a journal",
    "  when several shards had lost what they had",
    "shard asked what it can restore while it wrote",
    "shard crashed while it restored",
    "  after that, before it goes on from there",
    "shard came back with a journal that did not fit",
    "generation overtaken while a shard restored",
    "coordinator crashed while the run went back",
    "worker told that the run has gone back",
    "checkpoint of an abandoned history passed over",
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
    // What rule c is for cannot happen as long as rule b holds (design.md, section 4), so that it is only watched for.
    // A block that comes unasked takes several broken streams at once: about one run in a thousand. So does half a roll
    // back at the very shard whose journal has let go of more than the run goes back to; and a search in which shards
    // still write takes a slow disk just then.
    const bool optional = kind == static_cast<size_t>(Occurrence::kCompletedInDifferentGenerations) ||
                          kind == static_cast<size_t>(Occurrence::kUnwanted) ||
                          kind == static_cast<size_t>(Occurrence::kBackAfterHalfRestore) ||
                          kind == static_cast<size_t>(Occurrence::kSearchWhileWriting);
    if (counts_[kind] == 0 && !optional) never.push_back(kNames[kind]);
  }
  return never;
}

}  // namespace lockstep::sim
