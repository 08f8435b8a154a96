// Runs in all conditions, as GetStatus would tell of them.
#ifndef LOCKSTEP_TESTS_DEPLOY_CTL_STATUSES_H_
#define LOCKSTEP_TESTS_DEPLOY_CTL_STATUSES_H_

#include <cstdint>

#include "proto/control.pb.h"

namespace lockstep::ctl {

// Workers are "worker-R"; every shard holds 12 blocks and is at version 117.
v1::Status HealthyRun(uint32_t workers, uint32_t shards);

// Worker `rank` is stopped: silent for 8.2 s, with 12 blocks missing on shard 0, 3 on the others.
v1::Status StragglerRun(uint32_t workers, uint32_t shards, uint32_t rank);

// The lease of worker `rank` has expired.
v1::Status LostWorkerRun(uint32_t workers, uint32_t shards, uint32_t rank);

// Only shard 0 is up.
v1::Status AbsentShardsRun(uint32_t workers, uint32_t shards);

// All shards are up and no worker has joined.
v1::Status FreshRun(uint32_t workers, uint32_t shards);

v1::Status DoneRun(uint32_t workers, uint32_t shards);
v1::Status FailedRun(uint32_t workers, uint32_t shards);

// As much to say as there can be: no two workers, shards or reasons are alike.
v1::Status WorstRun(uint32_t workers, uint32_t shards);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_TESTS_DEPLOY_CTL_STATUSES_H_
