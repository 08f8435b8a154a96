// The decision of `lockstepctl wait --version V`: is it there, can it still come, or never?
//
// Thread-safety: pure functions.
#ifndef LOCKSTEP_DEPLOY_CTL_WAIT_VERDICT_H_
#define LOCKSTEP_DEPLOY_CTL_WAIT_VERDICT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "proto/control.pb.h"

namespace lockstep::ctl {

enum class WaitVerdict {
  kComplete,  // every shard has completed the version (or a later one)
  kNotYet,    // ask again
  kNever,     // the run ended before it
};

WaitVerdict JudgeWait(const v1::Status& status, uint64_t version);

// For people: why JudgeWait said kNever.
std::string WhyNever(const v1::Status& status, uint64_t version);

// For people: how far the run had come when `timeout` passed, and whom it waits for.
std::string WhyTimedOut(const v1::Status& status, uint64_t version, absl::Duration timeout);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_WAIT_VERDICT_H_
