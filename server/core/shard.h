// ShardCore: every decision of one shard about rounds, as a plain state machine.
//
//   Seal(g) ----> sealed: no more contributions; in-flight reductions end; AnswerSealed(newest complete version)
//   Install(g) -> serving: collects round `resume`
//
//   a block:  open --all contributions--> reducing --BlockReduced--> closed (tentative; sent to everybody attached)
//   a round:  all blocks closed -> journaling -> complete (the last block and Complete are sent)
//             -> committed, when a contribution to the next round, or an Install, proves that every shard completed it
//             -> undone, when an Install resumes at this round
//
// Invariants (the simulator in tests/sim checks them from outside, the asserts here from inside):
//   1. A block is reduced at most once per (generation, round), from exactly one contribution of each contributor.
//   2. What it takes to undo a round is kept until the round is committed; a committed round is never undone.
//   3. A shard that has not been given an Install for this incarnation serves nothing (design.md, section 4, rule a).
//   4. An excluded rank is in no set of participants, and nothing that it sends changes a bit.
//   5. The answer to Seal comes after every reduction and journal write that was under way has ended, so that nothing
//   computes during Install.
//   6. Complete is said, and an Install is answered, only after the journal has it. A shard that comes back remembers
//   both (Memory), and never less than it has said.
//
// Without a journal (Durability::kNone) the two waits are left out, and a shard that comes back remembers nothing.
//
// Round 0 brings the initial values: its only contributor is the lowest rank, and "reducing" is taking its payload.
//
// Rounds are closed when every member's contribution has come (policy `all`), or, if the generation's rounds are
// decided, when the coordinator says so (server/core/round_policy.h): until then contributions are kept, and blocks are
// reduced when the decision is there.
//
// Effects are returned in the order in which they must be started; see Effect for which must be finished before which.
//
// Thread-safety: none; the driver (server/service) holds the lock. No I/O, threads, clocks or randomness: `now` is
// given.
#ifndef LOCKSTEP_SERVER_CORE_SHARD_H_
#define LOCKSTEP_SERVER_CORE_SHARD_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/ids.h"
#include "common/mutation.h"
#include "server/core/sealed_shard.h"

namespace lockstep::core {

// ---- Events ----

// The coordinator starts generation `generation`; meant for the shard's incarnation `to`.
struct SealShard {
  Generation generation;
  Incarnation to;
};

// The coordinator fixes the members of `generation` and the round that is collected next.
struct InstallGeneration {
  Generation generation;
  Incarnation to;
  Round resume;
  std::vector<Member> members;  // ascending by rank
  uint32_t blocks = 0;          // of the model on this shard
  // Ranks whose contributions to round `resume` count as empty, in every generation; ascending.
  std::vector<Rank> excluded = {};
  bool decided = false;  // the coordinator decides who takes part in each round but the first
};

// The coordinator has decided: the round is made of these contributions, which are whole here.
struct CloseRound {
  Generation generation;
  Round round;
  std::vector<Rank> participants;  // ascending
};

// The coordinator gives the rank that version, which is complete here, or closed and about to be.
struct ServeRank {
  Generation generation;
  Rank rank;
  Version version;
};

// A worker's connection says who it is and the first round whose version it lacks.
struct AttachWorker {
  Member who;
  Generation generation;
  Round next;
  uint32_t connection = 0;
  uint32_t connections = 1;
};

// That connection is gone.
struct DetachWorker {
  Rank rank;
  uint32_t connection = 0;
};

// One block of a rank's contribution.
struct ContributeBlock {
  Member who;
  Generation generation;
  Round round;
  Slot slot;
  float weight = 0;  // finite, >= 0
};

// A rank's whole contribution to this shard without payload: weight 0, or the shard has no blocks.
struct ContributeEmpty {
  Member who;
  Generation generation;
  Round round;
  float weight = 0;
};

// The driver has finished SumGroup.
struct GroupSummed {
  Slot slot;
  uint32_t group = 0;
};

// The driver has finished ReduceBlock.
struct BlockReduced {
  Slot slot;
};

// The driver has finished SumGroup or ReduceBlock, and what came out must not be used: it is not finite. The round
// stands still here until another generation is installed.
struct ReductionRefused {};

// The journal has the round of the newest JournalRound.
struct RoundJournaled {
  Generation generation;
  Version version;
};

// The journal has the install of the newest JournalInstall.
struct InstallJournaled {
  Generation generation;
};

// ---- Effects ----

// Keep the payload of the contribution that was just given (without this effect it is dropped).
struct KeepPayload {
  Rank rank;
  Slot slot;
};

// End the connection that brought the event, with this status. Nobody else is affected.
struct RejectConnection {
  absl::Status status;
};

// The radix of the reduction tree: ranks 8g..8g+7 are group g.
inline constexpr uint32_t kGroupSize = 8;

struct Weighted {
  Rank rank;
  float weight = 0;
};

// Add up the kept payloads of one group of eight ranks (ascending) and free them; then give GroupSummed.
struct SumGroup {
  Slot slot;
  uint32_t group = 0;
  std::vector<Weighted> contributors;
};

// Reduce the kept payloads (or, if `grouped`, the group sums) of the contributors and compute the block of version
// `round` into fresh memory; then give BlockReduced. Contributors with weight 0 have no payload or one that does not
// count.
struct ReduceBlock {
  Round round;
  Slot slot;
  bool grouped = false;
  std::vector<Weighted> contributors;  // ascending by rank
};

struct Destination {
  Rank rank;
  uint32_t connection = 0;
  friend bool operator==(const Destination&, const Destination&) = default;
};
using Destinations = absl::InlinedVector<Destination, 8>;

// Tell the coordinator that the rank's contribution to the round is whole here.
struct ReportWhole {
  Generation generation;
  Round round;
  Rank rank;
};

// Tell the coordinator that the rank waits for a newer version than `given`, which is the newest that it may be sent.
struct ReportWaiting {
  Generation generation;
  Rank rank;
  Version given;
};

// Forget the kept payloads of these ranks: the round is closed without them.
struct DropRanks {
  std::vector<Rank> ranks;
};

// All blocks of `version` are reduced: make the round durable; then give RoundJournaled.
struct JournalRound {
  Generation generation;
  Version version;
  bool nothing = false;  // all weights were 0: the version has the bits of the one before
  std::vector<Rank> participants;
};

// Make the install durable, after CommitVersion and UndoBlocks of the same event are done; then give InstallJournaled.
struct JournalInstall {
  Generation generation;
  Round resume;
};

// Send the block of `version` to these connections.
struct SendBlock {
  Generation generation;
  Version version;
  Slot slot;
  Destinations to;
};

// Say that `version` is complete here. Comes after the round is durable. The SendBlock of the round's last block waits
// for that, too, and comes directly before it, to the same connections, so that one message can carry both.
struct SendComplete {
  Generation generation;
  Version version;
  Generation completed_in;
  std::vector<Rank> participants;
  Destinations to;
};

// Every shard has completed `version`: what it takes to undo it may go, the optimizer state may move.
struct CommitVersion {
  Version version;
};

// Take these blocks back to the version before.
struct UndoBlocks {
  std::vector<Slot> slots;
};

// Forget all kept payloads and group sums.
struct DropContributions {};

struct AnswerSealed {
  Generation generation;
  SealedShard has;  // without `damage`, which whoever has read the disk knows
};

// Comes after CommitVersion and UndoBlocks of the same event are done (and durable).
struct AnswerInstalled {
  Generation generation;
  absl::Status status;  // not OK: what the install asks for is impossible, the run cannot go on
};

using ShardEffect = std::variant<KeepPayload, RejectConnection, SumGroup, ReduceBlock, JournalRound, JournalInstall,
                                 SendBlock, SendComplete, CommitVersion, UndoBlocks, DropContributions, DropRanks,
                                 ReportWhole, ReportWaiting, AnswerSealed, AnswerInstalled>;
using ShardEffects = absl::InlinedVector<ShardEffect, 2>;

// How one completed round went, as seen from this shard.
struct RoundTimes {
  Version version;
  Generation generation;
  std::vector<Rank> participants;
  absl::Duration duration;  // since the version before was complete
  absl::Duration collect;   // from the first contribution to the last
  Rank last;                // whose contribution was whole last
  absl::Duration last_by;   // how long after the last but one
  absl::Duration journal;   // how long it took to make it durable, once it was reduced
};

// What the round in progress lacks.
struct Missing {
  Rank rank;
  uint32_t blocks = 0;
  uint32_t awaited = 0;  // of them, those that another rank has brought already
};

// What makes a round outlive the process.
enum class Durability {
  kNone,        // nothing
  kCheckpoint,  // checkpoints alone: a shard that comes back has nothing by itself, and the run is rolled back
  kJournal,     // the journal
};

// How a version came to be.
struct Completion {
  Generation completed_in;
  std::vector<Rank> participants;
};

// What a shard knows for certain when it comes back: a fold over its checkpoint and its journal.
class ShardMemory {
 public:
  // Nothing, or what the journal's first record implies.
  ShardMemory() = default;
  // A checkpoint's version, which is committed. `installed`: what the shard that restores it has installed before, so
  // that what is still said of older generations is known to be old.
  ShardMemory(Version version, Completion completion, Generation installed = {})
      : installed_(installed), next_(version.next()), newest_(std::move(completion)) {
    begun_ = true;
    checkpoint_ = version;
  }

  // The journal's records, in the order in which they were written. False: no shard writes such a record here.
  bool Add(const JournalRound& round);
  bool Add(const JournalInstall& install);
  // The checkpoint has this version already: Add leaves such a round out.
  bool Has(Version version) const { return checkpoint_ && version <= *checkpoint_; }
  // Nothing is known yet: the next round must bring everything.
  bool empty() const { return !begun_; }

  // The newest install.
  Generation installed() const { return installed_; }
  // The newest complete version + 1.
  Round next() const { return next_; }
  // No install came after the newest version: it may have to be undone.
  bool tentative() const { return tentative_; }

 private:
  friend class ShardCore;
  friend class StateReader;  // tests/sim/exploration: tells states apart
  bool begun_ = false;
  std::optional<Version> checkpoint_;
  Generation installed_;
  Round next_;
  Completion newest_;
  Completion before_;
  bool tentative_ = false;
};

class ShardCore {
 public:
  // `self` is this life of the shard. Nothing is served before an Install.
  explicit ShardCore(Incarnation self, Durability durability = Durability::kNone)
      : self_(self), journal_(durability == Durability::kJournal) {}
  // A shard that has come back with `memory`, and `blocks` of the model.
  ShardCore(Incarnation self, const ShardMemory& memory, uint32_t blocks, Durability durability = Durability::kJournal);

  // Each appends to `effects` what is to be done, in order.
  void Step(const SealShard& event, absl::Time now, ShardEffects& effects);
  void Step(const InstallGeneration& event, absl::Time now, ShardEffects& effects);
  void Step(const AttachWorker& event, absl::Time now, ShardEffects& effects);
  void Step(const DetachWorker& event, absl::Time now, ShardEffects& effects);
  void Step(const ContributeBlock& event, absl::Time now, ShardEffects& effects);
  void Step(const ContributeEmpty& event, absl::Time now, ShardEffects& effects);
  void Step(const CloseRound& event, absl::Time now, ShardEffects& effects);
  void Step(const ServeRank& event, absl::Time now, ShardEffects& effects);
  void Step(const GroupSummed& event, absl::Time now, ShardEffects& effects);
  void Step(const BlockReduced& event, absl::Time now, ShardEffects& effects);
  void Step(const ReductionRefused& event, absl::Time now, ShardEffects& effects);
  void Step(const RoundJournaled& event, absl::Time now, ShardEffects& effects);
  void Step(const InstallJournaled& event, absl::Time now, ShardEffects& effects);

  // ---- Questions ----
  Incarnation incarnation() const { return self_; }
  Generation generation() const { return installed_; }
  // The newest that the coordinator has started.
  Generation sealed() const { return sealed_; }
  // The round that is collected next or now; version next_round() - 1 is complete here.
  Round next_round() const { return next_; }
  Generation completed_in() const { return newest_.completed_in; }
  const std::vector<Rank>& participants() const { return newest_.participants; }
  // The same of the version before, as long as tentative().
  Generation completed_in_before() const { return before_.completed_in; }
  const std::vector<Rank>& participants_before() const { return before_.participants; }
  bool IsMember(const Member& who) const;
  // The block of the round in progress is there.
  bool IsClosed(Slot slot) const { return slots_[slot.value()].phase == Phase::kClosed; }
  // The newest complete version may still be undone, and the version before it is still here.
  bool tentative() const { return tentative_; }
  bool serving() const { return serving_ && (sealed_ <= installed_ || Mutated(Mutation::kTakeWhileSealed)); }
  // All blocks are reduced, or a generation is to be installed, and the journal does not have it yet. Since when.
  bool journaling() const { return journaling_; }
  absl::Time journaling_since() const { return journaling_since_; }
  uint32_t blocks() const { return static_cast<uint32_t>(slots_.size()); }
  uint32_t closed_blocks() const { return closed_; }
  // Per member, ascending by rank, what this round still lacks.
  std::vector<Missing> MissingBlocks() const;
  // Something of the round in progress has come.
  bool collecting() const { return first_arrival_ != absl::InfiniteFuture(); }
  // Since when others wait: the first contribution to this round, or the version before if none has come.
  absl::Time waiting_since() const { return first_arrival_ == absl::InfiniteFuture() ? completed_at_ : first_arrival_; }
  // Of the newest completed round. Valid when next_round() > 0 and a round was completed by this incarnation.
  const RoundTimes& last_round() const { return last_round_; }
  uint64_t duplicates() const { return duplicates_; }
  uint64_t stale() const { return stale_; }
  // Contributions (blocks of them) that came when their round was closed without them.
  uint64_t late() const { return late_; }
  // The round in progress waits for the coordinator to say who takes part.
  bool undecided() const { return undecided_; }

 private:
  friend class StateReader;  // tests/sim/exploration: tells states apart
  enum class Phase : uint8_t { kOpen, kReducing, kClosed };
  struct SlotState {
    Phase phase = Phase::kOpen;
    uint32_t received = 0;       // contributors whose block is here
    uint32_t groups_summed = 0;  // only when grouped
  };
  struct Worker {
    Member member;
    bool contributes = false;  // to the round in progress
    bool excluded = false;     // from it: awaited, but counts as empty
    bool begun = false;        // something of its contribution has come; `weight` is known
    float weight = 0;
    uint32_t received = 0;                      // blocks
    absl::Time arrived = absl::InfinitePast();  // when the contribution was whole
    std::vector<bool> attached;                 // per connection
    // If rounds are decided: the newest version that it may be sent, and whether it has been reported as waiting for
    // more.
    Version given;
    bool waiting = false;
  };
  struct Group {
    uint32_t size = 0;  // contributors
  };

  Worker* Find(Rank rank);
  // Null, after a rejection or a count, when the contribution is not one for the round in progress.
  Worker* Admit(const Member& who, Generation generation, Round round, float weight, absl::Time now,
                ShardEffects& effects);
  void NoteArrival(Worker& worker, absl::Time now, ShardEffects& effects);
  bool IsLate(const Worker& worker, Round round) const;
  void AskForNewer(Worker& worker, ShardEffects& effects) const;
  void StartSlot(Slot slot, ShardEffects& effects);
  void TakeBlock(Worker& worker, Slot slot, bool payload, ShardEffects& effects);
  void StartReduction(Slot slot, ShardEffects& effects);
  void SumWholeGroup(Slot slot, uint32_t group, ShardEffects& effects);
  bool GroupIsWhole(Slot slot, uint32_t group) const;
  static Weighted WeightOf(const Worker& worker) { return {worker.member.rank, worker.excluded ? 0 : worker.weight}; }
  // Every block of the round in progress is closed, and every contribution is whole.
  bool IsReduced() const { return !undecided_ && closed_ == slots_.size() && whole_ == contributors_; }
  // Those that are not excluded.
  std::vector<Rank> Contributors() const;
  void CompleteIfClosed(Slot last, absl::Time now, ShardEffects& effects);
  void Complete(absl::Time now, ShardEffects& effects);
  void Serve(absl::Time now, ShardEffects& effects);
  void StartJournaling(absl::Time now) {
    journaling_ = true;
    journaling_since_ = now;
  }
  void OpenRound();
  void CountInGroup(Rank rank);
  void ResetSlots();
  void Commit(ShardEffects& effects);
  void AnswerSealWhenQuiet(ShardEffects& effects);
  absl::Status CheckInstall(const InstallGeneration& event) const;
  void UndoBeyond(Round resume, ShardEffects& effects);
  void SendMissed(const AttachWorker& event, ShardEffects& effects) const;
  void SendGiven(Worker& worker, uint32_t connection, ShardEffects& effects) const;
  Destinations AttachedTo(Slot slot) const;
  void RecordTimes(absl::Time now);
  bool grouped() const { return next_ > Round(0) && groups_.size() > 1; }
  size_t ReceivedIndex(size_t worker, Slot slot) const { return slot.value() * workers_.size() + worker; }

  Incarnation self_;
  bool journal_;
  Generation installed_;
  Generation sealed_;
  bool serving_ = false;
  bool seal_unanswered_ = false;
  uint32_t computing_ = 0;   // ReduceBlock and SumGroup under way
  bool journaling_ = false;  // JournalRound or JournalInstall under way
  absl::Time journaling_since_ = absl::InfinitePast();
  Generation installing_;  // of the JournalInstall
  Slot last_;              // of the round that is journaled: the block that closed last

  Round next_;         // round in progress
  Completion newest_;  // of version next_ - 1
  Completion before_;  // of version next_ - 2, while tentative_
  bool tentative_ = false;
  bool decided_ = false;    // the coordinator decides each round but the first
  bool undecided_ = false;  // it has not decided the one in progress

  std::vector<Worker> workers_;  // members, ascending by rank
  std::vector<Group> groups_;    // by rank / 8
  uint32_t contributors_ = 0;
  uint32_t whole_ = 0;  // contributors whose contribution is whole
  std::vector<SlotState> slots_;
  std::vector<bool> received_;  // [slot][worker]
  uint32_t closed_ = 0;

  absl::Time completed_at_ = absl::InfinitePast();
  absl::Time first_arrival_ = absl::InfiniteFuture();
  RoundTimes last_round_;
  uint64_t duplicates_ = 0;
  uint64_t stale_ = 0;
  uint64_t late_ = 0;
};

}  // namespace lockstep::core

#endif  // LOCKSTEP_SERVER_CORE_SHARD_H_
