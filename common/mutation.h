// Bugs that are planted in the cores on purpose, to show that the simulation notices them (tests/sim/mutants).
//
// Mutated() is constant false, and costs nothing, but in the one test library that is compiled with LOCKSTEP_MUTANTS.
// There one mutation at a time is switched on for the whole process.
//
// Thread-safety: set active_mutation before any thread asks.
#ifndef LOCKSTEP_COMMON_MUTATION_H_
#define LOCKSTEP_COMMON_MUTATION_H_

namespace lockstep {

enum class Mutation {
  kNone,

  // ---- A shard's rounds ----
  kCountDuplicate,         // a block that comes twice counts twice
  kCloseBlockEarly,        // a block is reduced before its last contribution has come
  kSumGroupEarly,          // eight ranks are added up before the last of them has come
  kLeaveOneOut,            // the highest rank is left out of a reduction
  kReduceBackwards,        // contributions are added up in another order
  kForgetWeight,           // every contribution counts as much as any other
  kTakeOldGeneration,      // a contribution of an older generation counts
  kTakeWhileSealed,        // a sealed shard goes on to collect
  kCompleteUnjournaled,    // a round is complete before the journal has it
  kCompleteBeforeClosed,   // a round is complete before its last block is closed
  kCommitEarly,            // a version is committed as soon as this shard has completed it
  kForgetCommit,           // a contribution to the next round does not commit the version
  kNameWrongParticipants,  // the lowest rank is not named among those that made a version
  kForgetMissed,           // a connection that attaches is not sent what it lacks
  kSendTooOld,             // a connection that attaches is sent the round in progress in place of the version
  kForgetLastBlock,        // the round's last block is not sent when the round is complete

  // ---- A shard's generations ----
  kAnswerSealAtOnce,      // a seal is answered while reductions are under way
  kForgetUndo,            // blocks stay that an install takes back
  kForgetCompletion,      // who made the version before an undone one is forgotten
  kInstallUnjournaled,    // an install is answered before the journal has it
  kKeepContributions,     // contributions of an older generation are kept
  kReplayForgetsUndo,     // a shard that comes back does not replay an undo
  kReplayForgetsPending,  // a shard that comes back takes its newest version for committed
  kForgetItsPast,         // a shard that comes back says that it has nothing of the run

  // ---- The coordinator ----
  kForgetFence,        // who has lost a rank may come again
  kKeepOldHolder,      // a replacement's predecessor is not told
  kForgetPersist,      // what must outlive the process is not made durable
  kAnnounceEarly,      // workers learn a generation when the first shard has installed it
  kResumeAtNewest,     // a generation resumes after the newest version, not the newest that all have
  kIgnoreLease,        // a silent worker is never lost
  kReuseGeneration,    // a change takes the number of the generation before
  kIgnoreLostAnswers,  // a shard's new stream does not begin a change anew
  kKeepReplaced,       // a replacement begins no generation
  kIgnoreRestart,      // a shard's new life begins no generation
  kForgetLeave,        // who leaves is still waited for

  // ---- Checkpoints, and going back to one ----
  kManifestEarly,      // a checkpoint gets its manifest when the first part is there
  kRollBackTooFar,     // the run goes back to the oldest checkpoint that all have, not the newest
  kRestoreBlankAlone,  // only the shard that has lost what it had restores the checkpoint
  kForgetRollback,     // a coordinator that comes back does not know that the run has gone back
  kTakeAbandoned,      // a checkpoint of a history that was given up can be gone back to

  // ---- Decisions about rounds ----
  kDecideHalfWhole,  // a rank takes part whose contribution is not whole on the last shard yet
  kDecidePerShard,   // the set of ranks differs between shards
  kGiveUnasked,      // every version is sent to every rank, whether it waits for it or not
  kForgetDropped,    // a rank that a round was closed without is not told
  kForgetLate,       // a contribution that comes after its round is not answered
  kKeepDropped,      // what a round was closed without is kept
  kReduceUndecided,  // a block is reduced when all ranks have brought it, decided or not
  kReduceAll,        // a contribution that is whole counts, decided or not
  kGiveNobody,       // who has made a version is not given it

  // ---- A worker's session ----
  kJumpPartly,        // blocks of an older version count as those of a newer one
  kNeverJump,         // only the next version counts, even if the shards give a newer one
  kCountDropped,      // a contribution that did not count is said to have
  kHoldPartly,        // a version is held when the first shard has completed it
  kHoldUnstored,      // a version is held before all of its blocks are stored
  kTakeOldVersions,   // blocks and completions of older generations count
  kKeepAbandoned,     // a worker that is told that the run has gone back keeps what it holds
  kForgetToSendAgain  // a contribution is not sent again in a new generation
};

#ifdef LOCKSTEP_MUTANTS
inline Mutation active_mutation = Mutation::kNone;
inline bool Mutated(Mutation mutation) { return active_mutation == mutation; }
#else
// Whether the code that asks has this bug.
constexpr bool Mutated(Mutation) { return false; }
#endif

}  // namespace lockstep

#endif  // LOCKSTEP_COMMON_MUTATION_H_
