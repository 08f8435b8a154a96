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
  absl::Duration wrong_model;  // a worker with another model joins
  absl::Duration lose_shard;   // once: a shard restarts without its memory

  // The rest strike by chance, so many times in a thousand.
  uint32_t break_shard_in_change = 0;  // a shard's stream breaks while a Seal or Install is on its way
  uint32_t flap = 0;                   // a stream breaks as soon as it is opened
  uint32_t break_worker_at_leave = 0;  // a worker's stream breaks while the answer to its Leave is on its way
  uint32_t duplicate = 0;              // a contribution frame is sent once more, later
  uint32_t slow_store = 0;             // writing a block to the caller's memory takes its time
  uint32_t delay_spike = 0;            // a message is held up
  uint32_t other_name = 0;             // a replacement comes under a new name
  uint32_t replace_paused = 0;         // a paused worker is replaced
};

struct Plan {
  uint64_t seed = 0;
  uint32_t workers = 1;
  uint32_t connections = 1;
  uint64_t rounds = 1;                          // the last one is round `rounds`
  std::vector<std::vector<uint32_t>> elements;  // [shard][slot]
  uint32_t zero_weight = 0;                     // chance in a thousand that a contribution has weight 0

  absl::Duration lease;
  absl::Duration compute;    // of a worker, per round
  uint32_t slow_worker = 0;  // chance in a thousand that a worker is ten times slower
  absl::Duration reduce;     // of a shard, per block
  absl::Duration delay;      // of a message
  absl::Duration start;      // processes start at any time up to this
  FaultPlan faults;
  absl::Time faults_end;
  absl::Time deadline;  // by which the run must have ended

  uint32_t shards() const { return static_cast<uint32_t>(elements.size()); }
  Version last_version() const { return Version(rounds); }
  bool loses_shard() const { return faults.lose_shard != absl::InfiniteDuration(); }
};

Plan DrawPlan(uint64_t seed);

// The model that the run's workers define.
ModelSpec ModelOf(const Plan& plan);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_PLAN_H_
