// SealedShard: what a shard has when a generation ends for it. The shard tells it, and the coordinator decides from it.
#ifndef LOCKSTEP_SERVER_CORE_SEALED_SHARD_H_
#define LOCKSTEP_SERVER_CORE_SEALED_SHARD_H_

#include <string>

#include "common/ids.h"

namespace lockstep::core {

// Versions up to `next` - 1.
struct SealedShard {
  Round next = {};
  Generation completed_in = {};         // of the newest version
  Generation completed_in_before = {};  // of the version before that, unless `committed`
  bool committed = false;               // the newest version cannot be undone
  bool blank = false;                   // it has nothing of this run: it is new, or its disk is gone
  std::string damage = {};              // why, if it once had something
};

}  // namespace lockstep::core

#endif  // LOCKSTEP_SERVER_CORE_SEALED_SHARD_H_
