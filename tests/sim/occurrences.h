// How often each kind of fault and rare event has happened: a simulation that never meets a case has not tested it.
#ifndef LOCKSTEP_TESTS_SIM_OCCURRENCES_H_
#define LOCKSTEP_TESTS_SIM_OCCURRENCES_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::sim {

enum class Occurrence {
  kWorkerCrash,
  kWorkerPause,
  kWakeFenced,
  kWakeInTime,
  kLeaseExpired,
  kBackAfterLost,
  kReplacedByName,
  kReplacedByOther,
  kEviction,
  kLateStart,
  kWorkerBeforeShard,
  kWorkerStreamBreak,
  kShardStreamBreak,
  kShardStreamBreakInChange,
  kDataStreamBreak,
  kFlap,
  kShardPause,
  kLateDetach,
  kLateAttach,
  kLateJoin,
  kDuplicateSent,
  kDuplicateIgnored,
  kStaleIgnored,
  kDeadFrame,
  kPartialUndo,
  kVersionUndo,
  kSealWhileReducing,
  kCompleteAfterSeal,
  kOvertakenSealing,
  kOvertakenInstalling,
  kFetchByReplacement,
  kResent,
  kReconnectReplay,
  kAnnouncedAgain,
  kLeaveRepeated,
  kStoreOvertaken,
  kEmptyContribution,
  kWeightZeroPayload,
  kRoundWithoutWeight,
  kGroupedReduction,
  kShardWithoutBlocks,
  kWrongModelRefused,
  kStrangerRefused,
  kNoPlaceRefused,
  kShardLost,
  kShardLossReported,
  kShardLossHarmless,
  kShardCrash,
  kCrashWhileReducing,
  kCrashWhileJournaling,
  kCrashWhileInstalling,
  kCrashWhileSealed,
  kCoordinatorCrash,
  kCoordinatorCrashWhilePersisting,
  kCoordinatorCrashWithEffects,
  kCoordinatorCrashSealing,
  kCoordinatorCrashInstalling,
  kCrashAll,
  kPowerLoss,
  kTornRecord,
  kWholeAfterAll,
  kWholeUnacknowledged,
  kUnsyncedLost,
  kUnsyncedSurvived,
  kDiskStall,
  kShardBack,
  kCrashAgain,
  kShardBackTentative,
  kShardBackBlank,
  kReplayedUndo,
  kReplayedNothing,
  kUndoAfterRestart,
  kCommitAfterRestart,
  kServesAfterRestart,
  kStaleAtRestarted,
  kSealOfOtherLife,
  kCoordinatorBack,
  kCoordinatorBackBlank,
  kCoordinatorBackDone,
  kWorkerOutlivesCoordinator,
  kSeatedAfterRestart,
  kFencedAfterRestart,
  kCompletedInDifferentGenerations,
  kPartition,
  kPartitionOneWay,
  kPartitionHealed,
  kPartitionBreak,
  kPauseAll,
  kQuorumRound,
  kDeadlineRound,
  kFullRound,
  kDroppedPartly,
  kDroppedWhole,
  kLateContribution,
  kVersionGiven,
  kGivenAgain,
  kJump,
  kNotCounted,
  kDecidedGrouped,
  kDecisionUndone,
  kRemade,
  kUnwanted,
  kNewcomer,
  kGrown,
  kGivenUp,
  kForsaken,
  kLeftEarly,
  kLeftSeatTaken,
  kSmallerVersion,
  kLargerVersion,
  kCount,
};

class Occurrences {
 public:
  void Count(Occurrence kind) { ++counts_[static_cast<size_t>(kind)]; }
  void Add(const Occurrences& other);
  uint64_t of(Occurrence kind) const { return counts_[static_cast<size_t>(kind)]; }
  // A line for each kind.
  std::string Table() const;
  // The kinds that have not happened, in words.
  std::vector<std::string> Never() const;

 private:
  std::array<uint64_t, static_cast<size_t>(Occurrence::kCount)> counts_{};
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_OCCURRENCES_H_
