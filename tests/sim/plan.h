// Everything about one simulated run that is drawn from its seed before it starts: the cluster, the work and the
// faults.
//
// Faults are drawn "swarm" style: each kind is on or off, so that some runs see one kind alone and often, and others
// all of them at once.
#ifndef LOCKSTEP_TESTS_SIM_PLAN_H_
#define LOCKSTEP_TESTS_SIM_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "common/ids.h"
#include "common/model.h"
#include "server/core/round_policy.h"

namespace lockstep::sim {

// Bugs that are put into the simulated drivers on purpose, to show that the checks notice them. The cores have none of
// it.
enum class PlantedBug {
  kNone,
  kCountsDuplicates,   // a shard adds a duplicate's payload to the one it keeps
  kForgetsUndo,        // a shard keeps tentative blocks that it was told to take back
  kFoldsEarly,         // the optimizer state moves when a block closes, not when the version is committed
  kIgnoresGeneration,  // a shard takes frames of older generations and incarnations for current ones
  kDetachesLate,       // the end of an old stream detaches the new stream that has taken its place
  kForgetsToResend,    // a worker sends each contribution once, whatever happens to it
  kAnnouncesEarly,     // workers learn a generation before every shard has installed it
  kNeverTicks,         // the coordinator is never told that time passes

  // ---- Of what must outlive a process ----
  kSkipsJournal,          // a shard says that its journal has what it never gets
  kCompletesEarly,        // a shard takes a record for safe while it is being written
  kReplayForgetsUndo,     // a shard that comes back keeps a version that an install had undone
  kReplaysTwice,          // a shard that comes back folds each gradient twice
  kReplayCommits,         // a shard that comes back takes its newest version for committed
  kReplayLosesTail,       // a shard that comes back leaves out the newest record
  kReplaysNothingAsZero,  // a shard that comes back takes a round that changed nothing for a gradient of zeros
  kForgetsSync,           // a shard that comes back speaks of records that are not synced
  kTrustsUnsynced,        // a coordinator that comes back acts on a file that is not synced
  kServesAtOnce,          // a shard that comes back goes on in its old generation without an install
  kActsBeforePersisting,  // the coordinator's effects do not wait for its disk
  kReusesGeneration,      // a coordinator that comes back begins the newest generation once more
  kForgetsFenced,         // a coordinator that comes back does not know whom it has fenced
  kForgetsSeats,          // a coordinator that comes back does not know who holds which rank

  // ---- Of checkpoints and going back ----
  kRestoresUnfinished,    // a shard says that it can restore what has no manifest
  kRestoresNewest,        // shard 0 restores its newest file, not the version that all were told
  kForgetsRoundsEarly,    // a journal lets go of rounds when a checkpoint is begun, not when it is safe
  kTellsPartEarly,        // a shard says that its part is written when it has begun to write it
  kRemovesAlways,         // old checkpoints are removed while shards look for one, or restore it
  kKeepsOldJournal,       // a shard that has gone back goes on with its old journal
  kContributesAbandoned,  // a worker is told that the run has gone back, and goes on from its own parameters
  kHidesRollback,         // workers are told the generation, but not that it has gone back

  // ---- Of clocks ----
  kWallClock,     // the coordinator's time is its wall clock
  kForeignClock,  // the coordinator takes the time of a heartbeat from the worker's clock
  kKeepsOldTime,  // a coordinator that comes back goes on with the time of its machine's life before
};

// Checkpoints of the run.
struct CheckpointPlan {
  uint64_t rounds = 0;                                 // every so many; 0: there are none
  absl::Duration interval = absl::InfiniteDuration();  // and so long after the one before
  uint32_t keep = 1;
  absl::Duration write;  // of a file
  bool journal = true;   // false: a shard that dies has nothing by itself
};

// How often each kind of fault strikes; InfiniteDuration: never.
struct FaultPlan {
  absl::Duration crash;
  absl::Duration pause;
  absl::Duration evict;
  absl::Duration break_worker;  // a worker's stream to the coordinator
  absl::Duration break_shard;   // a shard's stream to the coordinator
  absl::Duration break_data;    // a stream between worker and shard
  absl::Duration pause_shard;
  absl::Duration stranger;     // a worker of another run joins
  absl::Duration newcomer;     // of an elastic run: a worker comes on top
  absl::Duration wrong_model;  // a worker with another model joins
  absl::Duration lose_shard;   // a shard restarts without its disk
  absl::Duration crash_shard;  // one that does not host the coordinator
  absl::Duration crash_coordinator;
  absl::Duration crash_all;                             // all processes at once, workers included
  absl::Duration partition;                             // two places cannot talk, in one direction or both
  absl::Duration pause_all;                             // all processes stand still
  absl::Duration jump_wall = absl::InfiniteDuration();  // a wall clock jumps by hours

  // The rest strike by chance, so many times in a thousand.
  uint32_t break_shard_in_change = 0;  // a shard's stream breaks while a Seal or Install is on its way
  uint32_t flap = 0;                   // a stream breaks as soon as it is opened
  uint32_t break_worker_at_leave = 0;  // a worker's stream breaks while the answer to its Leave is on its way
  uint32_t duplicate = 0;              // a contribution frame is sent once more, later
  uint32_t slow_store = 0;             // writing a block to the caller's memory takes its time
  uint32_t delay_spike = 0;            // a message is held up
  uint32_t other_name = 0;             // a replacement comes under a new name
  uint32_t replace_paused = 0;         // a paused worker is replaced
  uint32_t leave_early = 0;            // of an elastic run: a worker leaves before the last version
  uint32_t forsake = 0;                // of an elastic run: the supervisor does not replace a worker
  uint32_t slow_disk = 0;              // a write takes seconds
  uint32_t crash_in_write = 0;         // a shard, or the coordinator's, dies while it writes or soon after
  uint32_t crash_at_end = 0;           // the coordinator dies while it tells that the run has ended
  uint32_t crash_again = 0;            // a shard that has come back dies again soon
  uint32_t power_loss = 0;             // of a plan whose disks sync: a crash is a power loss, not a kill
  uint32_t lose_most = 1;              // so many disks are lost in a run
  uint32_t lose_again = 0;             // another disk is lost while the run goes back, or soon after
  uint32_t lose_in_checkpoint = 0;     // a disk is lost when a shard has written its part of a checkpoint
  uint32_t lose_in_manifest = 0;       // a manifest takes seconds, and meanwhile a disk is lost
  uint32_t lose_after_checkpoint = 0;  // a disk is lost soon after a checkpoint has been finished
  uint32_t slow_checkpoint = 0;        // writing a file of a checkpoint takes seconds
  uint32_t crash_in_going_back = 0;    // some shard dies while the run goes back
  uint32_t crash_after_restore = 0;    // a shard dies when it has restored, before its journal goes on from there
  uint32_t crash_in_checkpoint = 0;    // a process dies while it writes a checkpoint, looks for one or restores it
};

struct Plan {
  uint64_t seed = 0;
  uint32_t workers = 1;
  uint32_t connections = 1;
  uint64_t rounds = 1;                          // the last one is round `rounds`
  std::vector<std::vector<uint32_t>> elements;  // [shard][slot]
  core::RoundPolicy policy;
  // Elastic membership, see CoordinatorOptions; in a fixed run all are as if not given.
  bool elastic = false;
  uint32_t min_workers = 0;
  uint32_t max_workers = 0;
  absl::Duration replace_timeout = absl::InfiniteDuration();
  uint32_t zero_weight = 0;  // chance in a thousand that a contribution has weight 0

  absl::Duration lease;
  absl::Duration compute;    // of a worker, per round
  uint32_t slow_worker = 0;  // chance in a thousand that a worker is ten times slower
  absl::Duration reduce;     // of a shard, per block
  absl::Duration delay;      // of a message
  absl::Duration disk;       // of a write
  bool syncs = false;        // shards sync their journals, and so survive a power loss
  absl::Duration start;      // processes start at any time up to this
  CheckpointPlan checkpoints;
  FaultPlan faults;
  absl::Time faults_end;
  absl::Time deadline;  // by which the run must have ended

  uint32_t ranks() const { return elastic ? max_workers : workers; }
  uint32_t shards() const { return static_cast<uint32_t>(elements.size()); }
  Version last_version() const { return Version(rounds); }
  // The longest that a message may be held up by the network.
  absl::Duration longest_stall() const {
    return faults.partition == absl::InfiniteDuration() ? absl::ZeroDuration() : kLongestPartition;
  }
  static constexpr absl::Duration kLongestPartition = absl::Seconds(4);
  // What a shard had may be gone when it comes back.
  bool loses_shard() const { return faults.lose_shard != absl::InfiniteDuration() || !checkpoints.journal; }
};

Plan DrawPlan(uint64_t seed);

// The model that the run's workers define.
ModelSpec ModelOf(const Plan& plan);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_PLAN_H_
