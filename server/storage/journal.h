// Journal: one shard's append-only log of the rounds that it has reduced and the generations that it has installed,
// since a version that a file of its own holds whole: a checkpoint's, or a compacted journal.
//
//   Create or Recover ──> WriteBlock ... WriteBlock, CommitRound ──> WriteBlock ... CommitRound ──> ...
//                            (slots in any order)     └─ from here on the round survives kill -9
//                     ──> AppendInstall at any time between rounds
//                     ──> Forget(version) when a checkpoint holds it: space is used again
//
// On disk (bytes: journal_format.h): segments `journal-<number>`, each allocated in full when it is begun and used
// again when nothing in it is needed; and `journal-index`, replaced in one step whenever the list of segments changes.
// The index has the identity, the segments in order - number, random nonce, sequence number of the first record - and
// the newest install that was forgotten. A segment that it does not list holds nothing.
//
//   segment:  header | two commit marks | record | record | ... | space
//   record:   head | blocks, in slot order | checksum of each block, participants
//
// Head, marks and list carry an XXH3-64 that is seeded with the nonce, so that what an earlier use of the space left
// behind is never taken for a record of this. Order of writing:
//
//   1. blocks, as they come    2. checksums and participants    3. head    4. with `sync`: fdatasync    5. commit mark
//
// The commit mark says how far records were committed. So after a crash
//
//   - a record up to the mark, or in any segment but the last one, was committed: it is whole, or this is damage;
//   - a record past the mark without a valid head was not committed: it is dropped ("torn");
//   - past the mark with a valid head, it counts if it is whole. If it is not: written with `sync` it was cut off by
//   power
//     loss before its fdatasync was done, and is dropped; without, heads follow blocks in every crash that is promised
//     to be survived, and this is damage.
//
// Damage is said: DATA_LOSS with file and offset. A flipped bit therefore never drops a record whose mark is on disk.
// The mark of the newest record is in the page cache at once but on the disk only with the next record's fdatasync:
// power loss and a flipped bit, both within the newest record, are taken for a torn one. Without `sync`, power loss may
// cost any number of records at the end, and is then found as damage or as a shorter journal.
//
// After an error of WriteBlock, CommitRound or AppendInstall nothing that was committed is damaged; write the round
// again, from its first block on (a failed Sync may have dropped any of it), until it succeeds. A crash before that may
// bring it back whole, as one that was committed.
//
// Thread-safety: none; one thread at a time. Everything blocks on the disk.
#ifndef LOCKSTEP_SERVER_STORAGE_JOURNAL_H_
#define LOCKSTEP_SERVER_STORAGE_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/ids.h"
#include "server/storage/file_system.h"
#include "server/storage/journal_types.h"

namespace lockstep::storage {

class JournalSegments;
class JournalWriter;

// Gives one block of the round that is being visited. DATA_LOSS: it does not match its checksum.
using BlockReader = std::function<absl::Status(Slot, absl::Span<float>)>;

// What Recover calls, in the order in which records were written. An error ends the recovery and is its result.
class JournalVisitor {
 public:
  virtual ~JournalVisitor() = default;
  // Before any record.
  virtual absl::Status OnIdentity(const JournalIdentity& identity) = 0;
  // `read` is good until this returns; it checks what it reads, and only that.
  virtual absl::Status OnRound(const RoundRecord& round, const BlockReader& read) = 0;
  // Rounds of earlier records that it undoes have been visited, unless they were forgotten.
  virtual absl::Status OnInstall(const InstallRecord& install) = 0;
};

class Journal {
 public:
  // Starts an empty journal in `folder` (made if needed); files of an older journal there are removed.
  static absl::StatusOr<std::unique_ptr<Journal>> Create(FileSystem& files, std::string folder,
                                                         JournalIdentity identity, JournalOptions options);

  // Visits the newest forgotten install, then all records of the journal in `folder`, then continues after the last
  // one. What was visited is as durable as what is committed. Null: there is no journal. DATA_LOSS: it is damaged; the
  // message names file and offset. Everything before the damage was visited.
  static absl::StatusOr<std::unique_ptr<Journal>> Recover(FileSystem& files, std::string folder, JournalOptions options,
                                                          JournalVisitor& visitor);
  ~Journal();

  const JournalIdentity& identity() const;

  // Writes a block of the round that is being collected. Blocks of one round may come in any order, and again: the last
  // one counts. `checksum`: XXH3-64 of the bytes if it is known already. An error voids the blocks written so far.
  absl::Status WriteBlock(Slot slot, absl::Span<const float> elements, const uint64_t* checksum = nullptr);
  // Ends the round: every block must have been written, unless contents are kNothing. FAILED_PRECONDITION: one has not
  // been, since the last error.
  absl::Status CommitRound(const RoundRecord& round);
  // Blocks that were written since the last CommitRound are void.
  absl::Status AppendInstall(const InstallRecord& install);

  // Rounds up to `version` are not needed any more. Segments from the first on that hold nothing else (and nothing but
  // undone rounds) are used again; Recover still tells the newest of their installs. Never the segment being written.
  absl::Status Forget(Version version);

  // Bytes of records that are still needed; and of the space that they take.
  uint64_t live_bytes() const;
  uint64_t allocated_bytes() const;

 private:
  explicit Journal(std::unique_ptr<JournalSegments> segments, uint64_t next_sequence, bool head_in_doubt, bool sync);

  const std::unique_ptr<JournalSegments> segments_;
  const std::unique_ptr<JournalWriter> writer_;
};

}  // namespace lockstep::storage

#endif  // LOCKSTEP_SERVER_STORAGE_JOURNAL_H_
