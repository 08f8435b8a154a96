#include "tests/sim/mutants.h"

#include "tests/sim/simulation.h"

namespace lockstep::sim {
namespace {

// What the message names in brackets: "(G1, G4)".
std::string GuaranteeOf(const std::string& message) {
  const size_t begin = message.rfind("(G");
  if (begin == std::string::npos) return "?";
  return message.substr(begin + 1, message.find(')', begin) - begin - 1);
}

}  // namespace

const std::vector<Mutant>& AllMutants() {
  static const auto& all = *new std::vector<Mutant>{
      {"count-duplicate", "shard", "a block that comes twice counts twice", Mutation::kCountDuplicate},
      {"close-block-early", "shard", "a block is reduced before its last contribution has come",
       Mutation::kCloseBlockEarly},
      {"sum-group-early", "shard", "eight ranks are added up before the last of them has come",
       Mutation::kSumGroupEarly},
      {"leave-one-out", "shard", "the highest rank is left out of a reduction", Mutation::kLeaveOneOut},
      {"reduce-backwards", "shard", "contributions are added up in another order", Mutation::kReduceBackwards},
      {"forget-weight", "shard", "every contribution counts as much as any other", Mutation::kForgetWeight},
      {"take-old-generation", "shard", "a contribution of an older generation counts", Mutation::kTakeOldGeneration},
      {"take-while-sealed", "shard", "a sealed shard goes on to collect", Mutation::kTakeWhileSealed},
      {"complete-unjournaled", "shard", "a round is complete before the journal has it",
       Mutation::kCompleteUnjournaled},
      {"complete-before-closed", "shard", "a round is complete before its last block is closed",
       Mutation::kCompleteBeforeClosed},
      {"commit-early", "shard", "a version is committed as soon as this shard has completed it",
       Mutation::kCommitEarly},
      {"forget-commit", "shard", "a contribution to the next round does not commit the version",
       Mutation::kForgetCommit},
      {"name-wrong-participants", "shard", "the lowest rank is not named among those that made a version",
       Mutation::kNameWrongParticipants},
      {"forget-missed", "shard", "a connection that attaches is not sent what it lacks", Mutation::kForgetMissed},
      {"send-too-old", "shard", "a connection that attaches is sent the round in progress in place of the version",
       Mutation::kSendTooOld},
      {"forget-last-block", "shard", "the round's last block is not sent when the round is complete",
       Mutation::kForgetLastBlock},
      {"answer-seal-at-once", "shard", "a seal is answered while reductions are under way",
       Mutation::kAnswerSealAtOnce},
      {"forget-undo", "shard", "blocks stay that an install takes back", Mutation::kForgetUndo},
      {"forget-completion", "shard", "who made the version before an undone one is forgotten",
       Mutation::kForgetCompletion},
      {"install-unjournaled", "shard", "an install is answered before the journal has it",
       Mutation::kInstallUnjournaled},
      {"keep-contributions", "shard", "contributions of an older generation are kept", Mutation::kKeepContributions},
      {"replay-forgets-undo", "shard", "a shard that comes back does not replay an undo", Mutation::kReplayForgetsUndo},
      {"replay-forgets-pending", "shard", "a shard that comes back takes its newest version for committed",
       Mutation::kReplayForgetsPending},
      {"forget-its-past", "shard", "a shard that comes back says that it has nothing of the run",
       Mutation::kForgetItsPast},
      {"forget-fence", "coordinator", "who has lost a rank may come again", Mutation::kForgetFence},
      {"keep-old-holder", "coordinator", "a replacement's predecessor is not told", Mutation::kKeepOldHolder},
      {"forget-persist", "coordinator", "what must outlive the process is not made durable", Mutation::kForgetPersist},
      {"announce-early", "coordinator", "workers learn a generation when the first shard has installed it",
       Mutation::kAnnounceEarly},
      {"resume-at-newest", "coordinator", "a generation resumes after the newest version, not the newest that all have",
       Mutation::kResumeAtNewest},
      {"ignore-lease", "coordinator", "a silent worker is never lost", Mutation::kIgnoreLease},
      {"reuse-generation", "coordinator", "a change takes the number of the generation before",
       Mutation::kReuseGeneration},
      {"ignore-lost-answers", "coordinator", "a shard's new stream does not begin a change anew",
       Mutation::kIgnoreLostAnswers},
      {"keep-replaced", "coordinator", "a replacement begins no generation", Mutation::kKeepReplaced},
      {"ignore-restart", "coordinator", "a shard's new life begins no generation", Mutation::kIgnoreRestart},
      {"forget-leave", "coordinator", "who leaves is still waited for", Mutation::kForgetLeave},
      {"hold-partly", "session", "a version is held when the first shard has completed it", Mutation::kHoldPartly},
      {"hold-unstored", "session", "a version is held before all of its blocks are stored", Mutation::kHoldUnstored},
      {"take-old-versions", "session", "blocks and completions of older generations count", Mutation::kTakeOldVersions},
      {"forget-to-send-again", "session", "a contribution is not sent again in a new generation",
       Mutation::kForgetToSendAgain},
      {"decide-half-whole", "decisions", "a rank takes part whose contribution is not whole on the last shard yet",
       Mutation::kDecideHalfWhole},
      {"decide-per-shard", "decisions", "the set of ranks differs between shards", Mutation::kDecidePerShard},
      {"give-unasked", "decisions", "every version is sent to every rank, whether it waits for it or not",
       Mutation::kGiveUnasked},
      {"forget-dropped", "decisions", "a rank that a round was closed without is not told", Mutation::kForgetDropped},
      {"forget-late", "decisions", "a contribution that comes after its round is not answered", Mutation::kForgetLate},
      {"keep-dropped", "decisions", "what a round was closed without is kept", Mutation::kKeepDropped},
      {"reduce-undecided", "decisions", "a block is reduced when all ranks have brought it, decided or not",
       Mutation::kReduceUndecided},
      {"reduce-all", "decisions", "a contribution that is whole counts, decided or not", Mutation::kReduceAll},
      {"give-nobody", "decisions", "who has made a version is not given it", Mutation::kGiveNobody},
      {"jump-partly", "session", "blocks of an older version count as those of a newer one", Mutation::kJumpPartly},
      {"never-jump", "session", "only the next version counts, even if the shards give a newer one",
       Mutation::kNeverJump},
      {"count-dropped", "session", "a contribution that did not count is said to have", Mutation::kCountDropped},
      {"counts-duplicates", "driver", "a shard adds a duplicate's payload to the one it keeps", Mutation::kNone,
       PlantedBug::kCountsDuplicates},
      {"forgets-undo", "driver", "a shard keeps tentative blocks that it was told to take back", Mutation::kNone,
       PlantedBug::kForgetsUndo},
      {"folds-early", "driver", "the optimizer state moves when a block closes, not when the version is committed",
       Mutation::kNone, PlantedBug::kFoldsEarly},
      {"ignores-generation", "driver", "a shard takes frames of older generations and incarnations for current ones",
       Mutation::kNone, PlantedBug::kIgnoresGeneration},
      {"detaches-late", "driver", "the end of an old stream detaches the new stream that has taken its place",
       Mutation::kNone, PlantedBug::kDetachesLate},
      {"forgets-to-resend", "driver", "a worker sends each contribution once, whatever happens to it", Mutation::kNone,
       PlantedBug::kForgetsToResend},
      {"announces-early", "driver", "workers learn a generation before every shard has installed it", Mutation::kNone,
       PlantedBug::kAnnouncesEarly},
      {"never-ticks", "driver", "the coordinator is never told that time passes", Mutation::kNone,
       PlantedBug::kNeverTicks},
      {"skips-journal", "driver", "a shard says that its journal has what it never gets", Mutation::kNone,
       PlantedBug::kSkipsJournal},
      {"completes-early", "driver", "a shard takes a record for safe while it is being written", Mutation::kNone,
       PlantedBug::kCompletesEarly},
      {"replay-forgets-undo", "driver", "a shard that comes back keeps a version that an install had undone",
       Mutation::kNone, PlantedBug::kReplayForgetsUndo},
      {"replays-twice", "driver", "a shard that comes back folds each gradient twice", Mutation::kNone,
       PlantedBug::kReplaysTwice},
      {"replay-commits", "driver", "a shard that comes back takes its newest version for committed", Mutation::kNone,
       PlantedBug::kReplayCommits},
      {"replay-loses-tail", "driver", "a shard that comes back leaves out the newest record", Mutation::kNone,
       PlantedBug::kReplayLosesTail},
      {"replays-nothing-as-zero", "driver",
       "a shard that comes back takes a round that changed nothing for a gradient of zeros", Mutation::kNone,
       PlantedBug::kReplaysNothingAsZero},
      {"forgets-sync", "driver", "a shard that comes back speaks of records that are not synced", Mutation::kNone,
       PlantedBug::kForgetsSync},
      {"trusts-unsynced", "driver", "a coordinator that comes back acts on a file that is not synced", Mutation::kNone,
       PlantedBug::kTrustsUnsynced},
      {"serves-at-once", "driver", "a shard that comes back goes on in its old generation without an install",
       Mutation::kNone, PlantedBug::kServesAtOnce},
      {"acts-before-persisting", "driver", "the coordinator's effects do not wait for its disk", Mutation::kNone,
       PlantedBug::kActsBeforePersisting},
      {"reuses-generation", "driver", "a coordinator that comes back begins the newest generation once more",
       Mutation::kNone, PlantedBug::kReusesGeneration},
      {"forgets-fenced", "driver", "a coordinator that comes back does not know whom it has fenced", Mutation::kNone,
       PlantedBug::kForgetsFenced},
      {"forgets-seats", "driver", "a coordinator that comes back does not know who holds which rank", Mutation::kNone,
       PlantedBug::kForgetsSeats},
  };
  return all;
}

MutantResult TryMutant(const Mutant& mutant, uint64_t seeds, uint32_t jobs) {
  active_mutation = mutant.mutation;
  const CampaignResult result = RunCampaign({.first_seed = 1, .seeds = seeds, .jobs = jobs, .bug = mutant.bug});
  active_mutation = Mutation::kNone;
  MutantResult tried{.tried = result.runs, .caught = std::nullopt};
  if (result.violation) {
    const std::string& message = *result.violation->violation;
    tried.caught = Catch{.seed = result.violation->seed, .guarantee = GuaranteeOf(message), .message = message};
  }
  return tried;
}

}  // namespace lockstep::sim
