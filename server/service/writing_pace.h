// How fast a checkpoint is written while rounds go on. Pure.
//
// Writing costs what rounds need, too: processors, memory, the disk. What a round costs grows with the model just as
// the checkpoint does, so the two are tied to each other, and no clock or rate of the machine comes into it: with every
// round so many bytes may be written. When no round has come for a while there is nobody to make way for.
//
//   Begin(bytes per round) ; MayWrite? -> write -> OnWritten(bytes) ; OnRound, whenever one is made
//
// Thread-safety: none.
#ifndef LOCKSTEP_SERVER_SERVICE_WRITING_PACE_H_
#define LOCKSTEP_SERVER_SERVICE_WRITING_PACE_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace lockstep::service {

class WritingPace {
 public:
  // After so long without a round, what is left is written at once.
  static constexpr absl::Duration kPatience = absl::Seconds(1);

  // `now`: of a clock that never goes back.
  void Begin(int64_t bytes_per_round, absl::Time now) {
    bytes_per_round_ = std::max<int64_t>(bytes_per_round, 1);
    allowance_ = bytes_per_round_;
    last_round_ = now;
  }
  // What was not used is not saved up.
  void OnRound(absl::Time now) {
    allowance_ = std::min<int64_t>(allowance_, 0) + bytes_per_round_;
    last_round_ = now;
  }
  void OnWritten(int64_t bytes) { allowance_ -= bytes; }

  bool has_allowance() const { return allowance_ > 0; }
  // When there is nobody to make way for any more, unless a round comes.
  absl::Time free_at() const { return last_round_ + kPatience; }

 private:
  int64_t bytes_per_round_ = 1;
  int64_t allowance_ = 0;  // below 0: the piece that was written last was larger than what was left
  absl::Time last_round_;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_WRITING_PACE_H_
