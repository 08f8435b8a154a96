// The page that `lockstepctl status` shows: what is going on, is it healthy, who holds it up.
//
//   TRAINING  NOT HEALTHY  round 118 is under way, waits for rank 3 (worker-3) for 8.2 s: silent: no heartbeat
//   run 3f9a2c01, version 117, round 118, generation 4, up 1 m 12 s, lease 5.0 s
//   waits    for rank 3 (worker-3) for 8.2 s; missing: all 12 blocks on shards 0-3
//   workers  ranks 0-2, 4-15 active
//            rank 3 silent: worker-3, last heard 8.2 s ago
//   shards   0-3 up, version 117
//   rounds   the last 10 took 12 ms (median), at most 41 ms; rank 7 came last in 6 of them
//   model    6 tensors, 109,386 elements; adamw, lr 0.001
//
// At most kMaxStatusLines lines, however many workers, shards and tensors there are and whatever
// state they are in: what is alike is folded, what the first line says is not said again, and what does not fit is
// counted. Lines are broken at kStatusColumns.
//
// Thread-safety: pure functions.
#ifndef LOCKSTEP_DEPLOY_CTL_STATUS_TEXT_H_
#define LOCKSTEP_DEPLOY_CTL_STATUS_TEXT_H_

#include <string>

#include "deploy/ctl/paint.h"
#include "proto/control.pb.h"

namespace lockstep::ctl {

inline constexpr int kMaxStatusLines = 24;
inline constexpr size_t kStatusColumns = 110;

// Every line ends with a newline.
std::string StatusText(const v1::Status& status, const Paint& paint);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_STATUS_TEXT_H_
