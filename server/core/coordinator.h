// CoordinatorCore: who is in the run, and how a generation changes, as a plain state machine.
//
//   waiting for shards, then for workers (every rank joined and defined)
//     -> sealing:    Seal(g) to every shard; each answers with its newest complete version. If one has lost what it
//     had,
//                    all are asked which checkpoints they can restore, and the run goes back to the newest common one
//     -> installing: Install(g, members, resume) to every shard
//     -> training:   Announce(g) to every member
//     -> done, when every rank has left; or failed, when a version that workers hold cannot be restored
//
// A new change starts whenever the members or a shard's incarnation differ from those of the newest change; it may
// overtake one that is under way. Generation numbers only grow.
//
// Invariants:
//   1. At most one incarnation holds a rank; one that lost it is fenced for ever.
//   2. Workers learn a generation only when every shard has installed it (design.md, section 4, rule b).
//   3. A version that shards completed in different generations is undone (rule c).
//   4. A worker whose lease has expired keeps its rank until somebody takes it: the round waits for it or its
//   replacement,
//      and it goes on as if nothing had been when it wakes before.
//   5. What must outlive the process (CoordinatorMemory) is durable before anybody is told: Persist is the first effect
//      of the step that changed it. A coordinator that comes back seals all shards anew and asks them.
//
// Thread-safety: none; the driver (server/service) holds the lock. No I/O, threads, clocks or randomness: `now` is
// given.
#ifndef LOCKSTEP_SERVER_CORE_COORDINATOR_H_
#define LOCKSTEP_SERVER_CORE_COORDINATOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/ids.h"
#include "common/model.h"
#include "server/core/not_finite.h"
#include "server/core/resume.h"
#include "server/core/round_policy.h"

namespace lockstep::core {

struct CoordinatorOptions {
  std::string run_id;
  uint32_t workers = 1;
  uint32_t shards = 1;
  absl::Duration lease = absl::Seconds(5);
  NanPolicy nan_policy = NanPolicy::kFail;
  // After a failure that starting again would only repeat: how long shards stay, to be looked at.
  absl::Duration linger = absl::ZeroDuration();
  RoundPolicy policy = {};
  // Elastic membership. The run starts with `workers`; up to `max_workers` (0: `workers`) may be in it at a time. A
  // rank whose lease has expired, or that was evicted, and that nobody takes within `replace_timeout`, is given up, and
  // the run goes on without it, as long as `min_workers` (0: `workers`) are alive.
  uint32_t min_workers = 0;
  uint32_t max_workers = 0;
  absl::Duration replace_timeout = absl::InfiniteDuration();

  uint32_t least() const { return min_workers == 0 ? workers : min_workers; }
  uint32_t ranks() const { return max_workers == 0 ? workers : max_workers; }
  // The run begins with this version, which shards restore, and not with what the lowest rank brings.
  std::optional<Version> begins_with = {};
  std::optional<ModelSpec> model = {};  // of that version, if it is known
  // Shards may have checkpoints: one that has lost what it had rolls the run back; else the run fails.
  bool checkpoints = false;
};

// ---- Events ----

struct WorkerJoins {
  Incarnation incarnation;
  std::string name;
  std::optional<Rank> rank;  // absent: any
  std::string run_id;        // empty: any
};
struct WorkerDefines {
  Incarnation incarnation;
  ModelSpec model;  // valid
};
struct WorkerBeats {
  Incarnation incarnation;
};
struct WorkerLeaves {
  Incarnation incarnation;
};
struct EvictRank {
  Rank rank;
};
struct ShardArrives {
  ShardIndex shard;
  Incarnation incarnation;
  std::string address;
  std::string run_id;  // empty: has not served a run in this life
};
struct ShardSealed {
  ShardIndex shard;
  Incarnation incarnation;
  Generation generation;
  SealedShard has;
};
// The answer to SendFindRestorable.
struct ShardRestorable {
  ShardIndex shard;
  Incarnation incarnation;
  Generation generation;
  std::vector<RestorableVersion> versions;
  std::vector<std::string> damaged;  // what is wrong with others, with file and place
};
struct ShardInstalled {
  ShardIndex shard;
  Incarnation incarnation;
  Generation generation;
  std::string error;  // not empty: impossible
  absl::StatusCode code = absl::StatusCode::kAborted;
};
// A shard does not count the round that it collects: this is why. May be given again and again.
struct ShardRefuses {
  ShardIndex shard;
  Incarnation incarnation;
  Generation generation;  // that it has installed
  std::vector<FoundNotFinite> found;
};
// Time passes; give it several times per lease.
// Of a policy that decides: a shard holds a rank's whole contribution to the round.
struct ContributionWhole {
  ShardIndex shard;
  Incarnation incarnation;
  Generation generation;
  Round round;
  Rank rank;
};
// Of a policy that decides: a rank waits, and the shard can't give it anything newer than `given` by itself.
struct RankWaits {
  ShardIndex shard;
  Incarnation incarnation;
  Generation generation;
  Rank rank;
  Version given;
};
// Time passes; give it several times per lease, and at wakes_at().
struct Tick {};

// ---- Effects ----

// Make memory() durable before the effects that follow, and those of later steps.
struct Persist {};
struct WelcomeWorker {
  Incarnation incarnation;
  Rank rank;
};
// The worker is told why and its stream ends; nobody else is affected.
struct RefuseWorker {
  Incarnation incarnation;
  absl::Status status;
};
struct AcknowledgeLeave {
  Incarnation incarnation;
};
struct AnnounceGeneration {
  Generation generation;
  Round resume;
  std::vector<Member> members;
  std::vector<Incarnation> to;
  std::vector<Exclusion> excluded = {};  // from round `resume`; ascending by rank
  // The newest generation that began with a roll back; 0: none. Who knows only older ones gives up what it holds.
  Generation rolled_back_in = {};
};
struct WelcomeShard {
  ShardIndex shard;
};
struct RefuseShard {
  ShardIndex shard;
  Incarnation incarnation;
  absl::Status status;
};
struct SendSeal {
  ShardIndex shard;
  Incarnation to;
  Generation generation;
};
// What a shard takes version resume - 1 from, before it installs.
enum class Restoring {
  kNothing,    // from its own memory
  kBeginning,  // from what the run begins with
  kRollback,   // from this run's checkpoint
};
struct SendInstall {
  ShardIndex shard;
  Incarnation to;
  Generation generation;
  Round resume;
  std::vector<Member> members;
  std::vector<Rank> excluded = {};  // from round `resume`; ascending
  bool decided = false;             // rounds wait for DecideRound
  Restoring restoring = Restoring::kNothing;
};
// Close the round with these ranks, and give them its version. To a shard, in one order with GiveVersion and SendSeal.
struct DecideRound {
  ShardIndex shard;
  Incarnation to;
  Generation generation;
  Round round;
  std::vector<Rank> participants;  // ascending
};
// Give the rank that version.
struct GiveVersion {
  ShardIndex shard;
  Incarnation to;
  Generation generation;
  Rank rank;
  Version version;
};
// Ask a sealed shard for all checkpoints of the run that it could restore.
struct SendFindRestorable {
  ShardIndex shard;
  Incarnation to;
  Generation generation;
};
// The run is over: shards end, and so do workers that are still there. Empty failure: every rank has left.
struct EndRun {
  std::string failure;
  // What they are told with it. ABORTED: start again.
  absl::StatusCode code = absl::StatusCode::kAborted;
  bool shards_stay = false;  // for now: another EndRun will follow
};
// Something for the log.
struct Note {
  std::string text;
  bool loud = false;  // something has been lost
};

using CoordinatorEffect =
    std::variant<Persist, WelcomeWorker, RefuseWorker, AcknowledgeLeave, AnnounceGeneration, WelcomeShard, RefuseShard,
                 SendSeal, SendInstall, SendFindRestorable, DecideRound, GiveVersion, EndRun, Note>;
using CoordinatorEffects = std::vector<CoordinatorEffect>;

enum class RunState { kWaitingForShards, kWaitingForWorkers, kSealing, kInstalling, kTraining, kDone, kFailed };

enum class SeatState {
  kAbsent,  // nobody holds the rank
  kJoined,  // has not defined the model yet
  kActive,
  kLost,  // its lease has expired
  kLeft,  // left cleanly
};

// A rank and who holds it.
struct Seat {
  SeatState state = SeatState::kAbsent;
  Incarnation incarnation;
  std::string name;
  bool defined = false;
  absl::Time since = absl::InfinitePast();  // this incarnation holds the rank
  absl::Time heard = absl::InfinitePast();  // newest heartbeat
  uint32_t replacements = 0;
  // The run waits for somebody to hold the rank if nobody does: it has begun with it, or somebody has trained as it.
  bool expected = false;
  absl::Time vacant_since = absl::InfinitePast();  // while nobody holds it, or its lease has expired
};

// A shard as the coordinator knows it.
struct ShardSeat {
  bool present = false;
  Incarnation incarnation;
  std::string address;
};

// The run has gone back to a checkpoint.
struct Rollback {
  Generation generation;  // that began so
  Version from;           // newest version that was complete on a shard
  Version to;
  std::string reason;
  uint32_t times = 0;  // in this run, this one included
  // All shards have restored, and workers have been told. Until then some may still have what is given up.
  bool done = false;
  friend bool operator==(const Rollback&, const Rollback&) = default;
};

// What a coordinator knows for certain when it comes back.
struct CoordinatorMemory {
  // A rank that somebody held or has left.
  struct Place {
    Rank rank;
    Incarnation incarnation;
    std::string name;
    bool defined = false;
    bool left = false;
    uint32_t replacements = 0;
    bool expected = false;
    bool vacant = false;  // nobody holds it; the run waits for somebody
    friend bool operator==(const Place&, const Place&) = default;
  };
  std::string run_id;
  uint32_t workers = 0;
  uint32_t shards = 0;
  Generation generation;  // the newest that was begun
  // Where the newest generation resumed that workers have learnt. Absent: none yet, so that nobody holds a version.
  std::optional<Round> announced;
  std::vector<Place> places;
  std::vector<Incarnation> fenced;
  std::vector<Incarnation> departed;  // have left, and their ranks have been taken since
  std::optional<ModelSpec> model;
  bool done = false;                      // every rank has left
  std::vector<Exclusion> excluded = {};   // ascending by round, then rank
  std::optional<Rollback> rollback = {};  // the newest
  std::vector<Abandoned> abandoned = {};  // by all roll backs that are done; ascending, none says what another does
  friend bool operator==(const CoordinatorMemory&, const CoordinatorMemory&) = default;
};

class CoordinatorCore {
 public:
  CoordinatorCore(CoordinatorOptions options, absl::Time now);
  // A coordinator that has come back. INVALID_ARGUMENT from CheckMemory if `memory` is of another number of workers or
  // shards; run_id of `options` is not used.
  static absl::Status CheckMemory(const CoordinatorOptions& options, const CoordinatorMemory& memory);
  CoordinatorCore(CoordinatorOptions options, const CoordinatorMemory& memory, absl::Time now);

  // Each appends to `effects` what is to be done, in order.
  void Step(const WorkerJoins& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const WorkerDefines& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const WorkerBeats& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const WorkerLeaves& event, absl::Time now, CoordinatorEffects& effects);
  // Returns NOT_FOUND or INVALID_ARGUMENT when nobody can be evicted, and the name of the evicted worker in `name`.
  absl::Status Step(const EvictRank& event, absl::Time now, CoordinatorEffects& effects, std::string& name);
  void Step(const ShardArrives& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const ShardSealed& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const ShardInstalled& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const ShardRefuses& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const ContributionWhole& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const RankWaits& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const ShardRestorable& event, absl::Time now, CoordinatorEffects& effects);
  void Step(const Tick& event, absl::Time now, CoordinatorEffects& effects);

  // ---- Questions ----
  CoordinatorMemory memory() const;
  const CoordinatorOptions& options() const { return options_; }
  RunState state() const { return state_; }
  // When `state` was entered.
  absl::Time state_since() const { return state_since_; }
  const std::string& failure() const { return failure_; }
  Generation generation() const { return generation_; }
  Round resume() const { return resume_; }
  const std::vector<Seat>& seats() const { return seats_; }
  const std::vector<ShardSeat>& shards() const { return shards_; }
  const std::optional<ModelSpec>& model() const { return model_; }
  const std::optional<Rollback>& rollback() const { return rollback_; }
  // The newest generation began with what shards have restored.
  Restoring restoring() const { return change_.restoring; }
  // The run has gone back since generation `known` began, or all shards have restored what it begins with. Where that
  // was may have been overtaken by the newest generation, which then restores nothing itself.
  bool RestoredSince(Generation known) const {
    return restoring() != Restoring::kNothing || (rollback_ && known > Generation(0) && rollback_->generation > known);
  }
  // Shards that have not answered the Seal or Install that is under way.
  std::vector<ShardIndex> UnansweredShards() const;
  // Of the newest generation, ascending.
  std::vector<Rank> MemberRanks() const;
  // Of the newest generation, if the policy decides.
  const RoundDecider& decider() const { return decider_; }
  // When time alone decides something that cannot wait for the next Tick; InfiniteFuture: never.
  absl::Time wakes_at() const { return decider_.wakes_at(); }

 private:
  friend class StateReader;  // tests/sim/exploration: tells states apart
  // Puts Persist before all that a step has to say if the step changes the memory.
  class Transaction;
  // The newest change of generation: who is in it, and what has been answered.
  struct Change {
    std::vector<Member> members;
    std::vector<Incarnation> shards;
    std::vector<std::optional<SealedShard>> sealed;
    std::vector<bool> installed;
    Restoring restoring = Restoring::kNothing;
    // Not empty: why the run must be rolled back. Then shards are asked what they can restore.
    std::string lost = {};
    std::vector<std::optional<ShardRestorable>> restorable = {};
  };

  Seat* FindHolder(Incarnation incarnation);
  absl::StatusOr<Rank> ChooseSeat(const WorkerJoins& event) const;
  absl::Status CheckJoin(const WorkerJoins& event) const;
  const Seat* FindLeft(const WorkerJoins& event) const;
  void Rejoin(Seat& seat, absl::Time now, CoordinatorEffects& effects);
  void Take(Rank rank, const WorkerJoins& event, absl::Time now, CoordinatorEffects& effects);
  void Fence(Seat& seat, const std::string& why, CoordinatorEffects& effects);
  void Vacate(Seat& seat, absl::Time now);
  void ForgetModelOfNobody();
  bool Occupied() const;
  bool AllLeft() const;
  void GiveUp(absl::Time now, CoordinatorEffects& effects);
  std::vector<Member> Members() const;
  std::vector<Incarnation> ShardIncarnations() const;
  void MaybeChange(absl::Time now, CoordinatorEffects& effects);
  void Resume(absl::Time now, CoordinatorEffects& effects);
  bool Decides(ShardIndex shard, Incarnation incarnation, Generation generation) const;
  void Decide(std::optional<RoundDecider::Decision> decision, CoordinatorEffects& effects) const;
  void Install(Round resume, Restoring restoring, absl::Time now, CoordinatorEffects& effects);
  void FindRestorable(std::string lost, CoordinatorEffects& effects);
  void RollBack(absl::Time now, CoordinatorEffects& effects);
  void NoteRolledBack();
  void Announce(std::vector<Incarnation> to, CoordinatorEffects& effects) const;
  void End(RunState state, std::string failure, absl::Time now, CoordinatorEffects& effects,
           absl::StatusCode code = absl::StatusCode::kAborted);
  // Says that the run is over.
  void SayEnd(absl::Time now, CoordinatorEffects& effects) const;
  std::vector<Exclusion> ExclusionsFrom(Round round) const;
  void Enter(RunState state, absl::Time now);
  bool ended() const { return state_ == RunState::kDone || state_ == RunState::kFailed; }
  Rank RankOf(const Seat& seat) const { return Rank(static_cast<uint32_t>(&seat - seats_.data())); }

  CoordinatorOptions options_;  // does not change after construction
  RunState state_ = RunState::kWaitingForShards;
  absl::Time state_since_;
  std::string failure_;
  Generation generation_;
  Round resume_;
  std::vector<Seat> seats_;
  std::vector<ShardSeat> shards_;
  std::optional<ModelSpec> model_;
  Change change_;
  RoundDecider decider_;
  bool ask_again_ = true;           // the newest change will not do, even for the same members and shards
  std::optional<Round> announced_;  // see CoordinatorMemory
  std::optional<Rollback> rollback_;
  std::vector<Abandoned> abandoned_;  // see CoordinatorMemory
  absl::flat_hash_set<Incarnation> fenced_;
  bool changed_ = false;             // the memory, since the last Persist
  std::vector<Exclusion> excluded_;  // ascending by round, then rank
  absl::StatusCode failure_code_ = absl::StatusCode::kAborted;
  absl::Time shards_end_ = absl::InfinitePast();  // after a failure: when they are told
  absl::flat_hash_set<Incarnation> departed_;     // see CoordinatorMemory
};

}  // namespace lockstep::core

#endif  // LOCKSTEP_SERVER_CORE_COORDINATOR_H_
