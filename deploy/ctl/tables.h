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

// One line for each shard.
std::string ShardsTable(const v1::Status& status, Width width, const Paint& paint);

// One line for each recent round, newest first: who came last, and how long the others waited.
std::string RoundsTable(const v1::Status& status, Width width, const Paint& paint);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_TABLES_H_
