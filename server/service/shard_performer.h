// ShardPerformer: does what ShardPlanner has planned: sends, computes, answers. It holds no lock and no state, and
// decides nothing.
//
//   Perform(work) --SumPayloads-----> ShardEvents::OnGroupSummed
//                 `-ReducePayloads--> ShardEvents::OnReduced          (either may end in OnNotFinite)
//
// What ends later than it is started comes back as an event, through ShardEvents: the owner takes its lock, steps the
// core and performs what comes of it. So it does not matter on which thread that happens. Sums and reductions are
// computed and reported on the calling thread.
//
// Thread-safety: all of it. Nothing blocks; computing takes as long as it takes.
#ifndef LOCKSTEP_SERVER_SERVICE_SHARD_PERFORMER_H_
#define LOCKSTEP_SERVER_SERVICE_SHARD_PERFORMER_H_

#include <functional>
#include <vector>

#include "common/ids.h"
#include "server/service/not_finite.h"
#include "server/service/shard_work.h"

namespace lockstep::service {

// What becomes of work. Called without any lock, from any thread.
class ShardEvents {
 public:
  virtual ~ShardEvents() = default;
  // `sum` is null when nobody of the group counts.
  virtual void OnGroupSummed(Slot slot, uint32_t group, storage::BufferRef sum) = 0;
  virtual void OnReduced(Slot slot, storage::Made made) = 0;
  // Instead of either: what came out is not finite. `found` is not empty, and in the order of ranks.
  virtual void OnNotFinite(Slot slot, std::vector<InBlock> found) = 0;
};

class ShardPerformer {
 public:
  // `events` must outlive this. `answer` carries messages to the coordinator; it must not block and may be called from
  // any thread.
  ShardPerformer(ShardIndex shard, bool checksums, std::function<void(v1::ShardMessage)> answer, ShardEvents* events);

  // In order; an item lets go of all that it holds as soon as it is done.
  void Perform(WorkList work) const;

 private:
  void Do(SendFrame& send) const;
  void Do(EndStream& end) const;
  void Do(SumPayloads& sum) const;
  void Do(ReducePayloads& reduce) const;
  void Do(AnswerCoordinator& answer) const;
  void Do(ServeReader& serve) const;
  void Do(RefuseReader& refuse) const;

  const ShardIndex shard_;
  const bool checksums_;
  const std::function<void(v1::ShardMessage)> answer_;
  ShardEvents* const events_;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_SHARD_PERFORMER_H_
