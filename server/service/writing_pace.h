// How fast a checkpoint is written while rounds go on. Pure.
//
// Writing costs what rounds need, too: processors, memory, the disk. What a round costs grows with the model just as
// the checkpoint does, so the two are tied to each other, and no rate of the machine comes into it: with every round so
// many bytes may be written. When none has come for twice as long as the one before took, there is nobody to make way
// for.
//
//   OnRound, whenever one is made ; Begin(bytes per round) ; has_allowance, or free_at has come? -> write, OnWritten
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
  static constexpr absl::Duration kLeastPatience = absl::Milliseconds(100);
  static constexpr absl::Duration kMostPatience = absl::Seconds(5);

  void Begin(int64_t bytes_per_round) {
    bytes_per_round_ = std::max<int64_t>(bytes_per_round, 1);
    allowance_ = bytes_per_round_;
  }
  // What was not used is not saved up. `now`: of a clock that never goes back.
  void OnRound(absl::Time now) {
    allowance_ = std::min<int64_t>(allowance_, 0) + bytes_per_round_;
    patience_ = std::clamp(2 * (now - last_round_), kLeastPatience, kMostPatience);
    last_round_ = now;
  }
  void OnWritten(int64_t bytes) { allowance_ -= bytes; }

  bool has_allowance() const { return allowance_ > 0; }
  // When there is nobody to make way for any more, unless a round comes.
  absl::Time free_at() const { return last_round_ + patience_; }

 private:
  int64_t bytes_per_round_ = 1;
  // Below 0: more was written than the rounds allowed, by the last piece or while there was nobody to make way for. The
  // next shares pay for it.
  int64_t allowance_ = 0;
  absl::Time last_round_ = absl::InfinitePast();
  absl::Duration patience_ = kLeastPatience;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_WRITING_PACE_H_
