// Readers: who takes one version of the shard's blocks while training goes on, and who waits for one to come.
//
//   Admit(version) -> ServeReader now (it is here) | waits until that version is complete | RefuseReader
//   Completed()    -> ServeReader for those who have waited for the newest version
//
// A reader that is being served holds on to the blocks of its version until it has taken them or is gone: that memory
// is beyond the rounds', so readers are limited, and so are the versions that they hold on to. Training never waits for
// a reader.
//
// Thread-safety: none; ShardDriver holds its lock around every call. A PullStream's own lock is taken after it. Nothing
// blocks or sends.
#ifndef LOCKSTEP_SERVER_SERVICE_READERS_H_
#define LOCKSTEP_SERVER_SERVICE_READERS_H_

#include <memory>
#include <vector>

#include "common/ids.h"
#include "server/core/shard.h"
#include "server/service/shard_model.h"
#include "server/service/shard_work.h"

namespace lockstep::service {

class Readers {
 public:
  // Waiting and being served together.
  static constexpr size_t kMost = 16;
  // Different ones that are being served at the same time. The memory bound counts on it.
  static constexpr size_t kMostVersions = 2;

  // OUT_OF_RANGE: the version is gone. RESOURCE_EXHAUSTED: there are kMost readers, or kMostVersions
  // others are being served. `model` is null before the first
  // Install: then no version is here yet.
  void Admit(const core::ShardCore& core, const ShardModel* model, Version version, std::shared_ptr<PullStream> stream,
             WorkList& work);

  // `core` has just completed a version.
  void Completed(const core::ShardCore& core, const ShardModel& model, WorkList& work);

 private:
  struct Waiting {
    Version version;
    std::shared_ptr<PullStream> stream;
  };

  struct Served {
    Version version;
    std::weak_ptr<PullStream> stream;
  };

  void ForgetEnded();
  // One more reader of `version` holds on to no more than the bound counts on.
  bool MayServe(Version version) const;
  void Serve(const core::ShardCore& core, const ShardModel& model, Version version, std::shared_ptr<PullStream> stream,
             WorkList& work);

  std::vector<Waiting> waiting_;
  std::vector<Served> served_;  // each holds on to its version's blocks
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_READERS_H_
