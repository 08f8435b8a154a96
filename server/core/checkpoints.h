// CheckpointCore: which version becomes a checkpoint of the whole run, and when it is one, as a plain state machine.
//
//   due, or asked for -> names a version a little ahead: AskForCheckpoint to every shard
//     -> each writes its part when that version is committed there: PartWritten; or it had passed it: PartMissed
//     -> all parts are there: WriteManifest -> ManifestWritten: it exists -> RemoveOldCheckpoints
//
// One version is under way at a time. A version that a shard misses is given up, and one further ahead is named: how
// far doubles until all shards hear of it in time. Asking again is harmless, so that every new generation asks again.
//
// Thread-safety: none; the driver holds the lock. No I/O, threads, clocks or randomness: `now` is given.
#ifndef LOCKSTEP_SERVER_CORE_CHECKPOINTS_H_
#define LOCKSTEP_SERVER_CORE_CHECKPOINTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "common/ids.h"

namespace lockstep::core {

// When checkpoints are due.
struct CheckpointTriggers {
  uint64_t rounds = 0;                                 // versions that are multiples of it; 0: none
  absl::Duration interval = absl::InfiniteDuration();  // and so long after the one before
};

// A shard's part of a version, durable.
struct CheckpointPart {
  Version version;
  Generation completed_in;
  std::vector<Rank> participants;
  std::string file;  // its name within the version's folder
  uint64_t bytes = 0;
  std::string head_xxh3_128;
};

// ---- Events ----

// Every shard has installed a generation.
struct GenerationBegins {
  Round resume;
  bool restored = false;  // all have written version resume - 1, which may not be a checkpoint of this run yet
};
// Some shard collects this round.
struct RoundSeen {
  Round next;
};
struct PartWritten {
  ShardIndex shard;
  CheckpointPart part;
};
// The shard will not write that version.
struct PartMissed {
  ShardIndex shard;
  Version version;
  Round next;         // the round that it collects
  std::string error;  // why its disk did not take it; empty: it had passed that version
};
// Somebody wants a checkpoint soon.
struct CheckpointWanted {};
struct ManifestWritten {
  Version version;
  std::string error;  // empty: the checkpoint exists
  // A generation is changing, so that shards may be looking for a checkpoint, or restoring one.
  bool changing = false;
};

// ---- Effects ----

// Tell every shard to write `version` when it is committed.
struct AskForCheckpoint {
  Version version;
};
// All parts are durable: write the manifest, then give ManifestWritten.
struct WriteCheckpointManifest {
  std::vector<CheckpointPart> parts;  // by shard
};

// The checkpoints older than those that are to be kept, of which `newest` is the newest, may go. Not while a generation
// changes: what one shard has found must be there when all of them restore it. Nor when `newest` has been given up.
struct RemoveOldCheckpoints {
  Version newest;
};

using CheckpointEffect = std::variant<AskForCheckpoint, WriteCheckpointManifest, RemoveOldCheckpoints>;
using CheckpointEffects = std::vector<CheckpointEffect>;

class CheckpointCore {
 public:
  explicit CheckpointCore(uint32_t shards) : parts_(shards) {}

  // Also the first time that they are known: what is due depends on the model.
  void SetTriggers(const CheckpointTriggers& triggers) { triggers_ = triggers; }

  // Each appends to `effects` what is to be done, in order.
  void Step(const GenerationBegins& event, absl::Time now, CheckpointEffects& effects);
  void Step(const RoundSeen& event, absl::Time now, CheckpointEffects& effects);
  void Step(const PartWritten& event, absl::Time now, CheckpointEffects& effects);
  void Step(const PartMissed& event, absl::Time now, CheckpointEffects& effects);
  void Step(const CheckpointWanted& event, absl::Time now, CheckpointEffects& effects);
  void Step(const ManifestWritten& event, absl::Time now, CheckpointEffects& effects);
  // Time passes: tells what is due by the clock.
  void Tick(absl::Time now, CheckpointEffects& effects);

  // ---- Questions ----
  // Under way.
  const std::optional<Version>& target() const { return target_; }
  // The newest one that was finished, and when. Since this coordinator's start.
  const std::optional<Version>& newest() const { return newest_; }
  absl::Time newest_at() const { return newest_at_; }
  // How many were finished, and how many given up because of an error.
  uint64_t finished() const { return finished_; }
  uint64_t failures() const { return failures_; }
  // Why the last one that was given up was; empty once another one was finished.
  const std::string& trouble() const { return trouble_; }

 private:
  void NameNext(absl::Time now, CheckpointEffects& effects);
  void Name(Version version, CheckpointEffects& effects);
  void GiveUp(std::string error);
  void FinishIfWhole(CheckpointEffects& effects);
  bool DueByClock(absl::Time now) const { return now - begun_ >= triggers_.interval; }
  Version Soonest() const { return Version(next_->value() + ahead_); }

  CheckpointTriggers triggers_;
  std::optional<Round> next_;  // newest round that any shard is known to collect; absent: no generation yet
  std::optional<Version> target_;
  std::vector<std::optional<CheckpointPart>> parts_;  // of the target, by shard
  bool writing_manifest_ = false;
  bool given_up_ = false;  // the run has gone back to a version before the target while its manifest was written
  bool wanted_ = false;
  uint64_t ahead_ = 1;
  absl::Time begun_ = absl::InfiniteFuture();  // when the last one was named, or the first generation began
  std::optional<Version> newest_;
  absl::Time newest_at_ = absl::InfinitePast();
  uint64_t finished_ = 0;
  uint64_t failures_ = 0;
  std::string trouble_;
};

}  // namespace lockstep::core

#endif  // LOCKSTEP_SERVER_CORE_CHECKPOINTS_H_
