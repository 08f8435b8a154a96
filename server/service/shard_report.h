// What a shard tells the coordinator about itself several times a second.
//
// Thread-safety: functions.
#ifndef LOCKSTEP_SERVER_SERVICE_SHARD_REPORT_H_
#define LOCKSTEP_SERVER_SERVICE_SHARD_REPORT_H_

#include "absl/time/time.h"
#include "proto/coordinator.pb.h"
#include "server/core/shard.h"

namespace lockstep::service {

// The round in progress: who is missing, and for how long others have waited.
v1::ShardReport DescribeRound(const core::ShardCore& core, absl::Time now);

v1::RoundRecord ToProto(const core::RoundTimes& times);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_SHARD_REPORT_H_
