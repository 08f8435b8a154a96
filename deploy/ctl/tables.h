// The tables of `lockstepctl workers`, `shards` and `rounds`, made from one Status.
//
// Thread-safety: pure functions.
#ifndef LOCKSTEP_DEPLOY_CTL_TABLES_H_
#define LOCKSTEP_DEPLOY_CTL_TABLES_H_

#include <string>

#include "deploy/ctl/paint.h"
#include "proto/control.pb.h"

namespace lockstep::ctl {

// How many columns: the ones that answer most questions, or all.
enum class Width { kNarrow, kWide };

// One line for each rank.
std::string WorkersTable(const v1::Status& status, Width width, const Paint& paint);

// One line for each shard: what it last reported, and how long ago that was.
std::string ShardsTable(const v1::Status& status, Width width, const Paint& paint);

// One line for each recent round, newest first and at most `most`: who came last, and how long the others waited. The
// round before the last one shown tells whether the generation changed in it, so ask for one more.
std::string RoundsTable(const v1::Status& status, uint32_t most, Width width, const Paint& paint);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_TABLES_H_
