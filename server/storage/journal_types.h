// What a journal records, and how it is told to.
//
// Thread-safety: plain values.
#ifndef LOCKSTEP_SERVER_STORAGE_JOURNAL_TYPES_H_
#define LOCKSTEP_SERVER_STORAGE_JOURNAL_TYPES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/random_id.h"
#include "server/storage/fail_point.h"

namespace lockstep::storage {

// What a journal is of. All its segments carry it; a file of another identity is refused.
struct JournalIdentity {
  std::string run_id;
  ShardIndex shard;
  // What it takes to make sense of the blocks (model, layout, optimizer), as the caller wishes to have it back.
  std::string description;
  std::vector<uint64_t> elements;  // of each block, by slot

  friend bool operator==(const JournalIdentity&, const JournalIdentity&) = default;
};

struct JournalOptions {
  bool sync = false;  // every CommitRound and AppendInstall survives power loss
  // A segment takes at least this and at least two rounds.
  uint64_t segment_bytes = uint64_t{64} << 20;
  // Names a segment's use; random, so that no use has the same twice.
  std::function<uint64_t()> nonce = RandomId;
  // Called with one of kJournalFailPoints before and after each step that a crash may come between.
  FailPoint fail_point = nullptr;
};

// What the blocks of a round's record are.
enum class RoundContents : uint8_t {
  kNothing = 0,     // the round leaves everything as it was (all weights were 0)
  kParameters = 1,  // the new parameters
  kGradient = 2,    // the effective gradient, from which the optimizer makes the new parameters
};

struct RoundRecord {
  Generation generation;
  Version version;
  RoundContents contents = RoundContents::kNothing;
  std::vector<Rank> participants;
  friend bool operator==(const RoundRecord&, const RoundRecord&) = default;
};

struct InstallRecord {
  Generation generation;
  Round resume;           // the round that was collected next; a round of that number before this record is undone
  bool restored = false;  // the run was rolled back: everything before this record is void, version resume - 1 comes
                          // from a checkpoint
  friend bool operator==(const InstallRecord&, const InstallRecord&) = default;
};

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_JOURNAL_TYPES_H_
