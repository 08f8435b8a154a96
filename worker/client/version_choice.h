// Which version a reader asks for when it wants the newest.
#ifndef LOCKSTEP_WORKER_CLIENT_VERSION_CHOICE_H_
#define LOCKSTEP_WORKER_CLIENT_VERSION_CHOICE_H_

#include <algorithm>
#include <cstdint>

namespace lockstep::client {

// First the oldest version that a shard holds as its newest: right while training stands still. When training has gone
// past it, one that is ahead of every shard, further each time, so that all of them are reached before they complete
// it. When that one does not come (training has stopped meanwhile), start again.
//
// A pure state machine. Thread-safety: none.
class VersionChoice {
 public:
  // The newest versions of the shards: the oldest and the newest of them.
  void Seen(uint64_t oldest, uint64_t newest) {
    oldest_ = oldest;
    newest_ = std::max(newest_, newest);
  }
  // A shard said that its newest is this one; 0: nothing was said.
  void Told(uint64_t newest) { newest_ = std::max(newest_, newest); }
  // A shard no longer had the version that was asked for.
  void TooLate() { lead_ = std::min(lead_ == 0 ? 2 : 2 * lead_, kMostLead); }
  // It did not come in time.
  void NeverCame() { lead_ = 0; }

  uint64_t version() const { return lead_ == 0 ? oldest_ : newest_ + lead_; }

 private:
  static constexpr uint64_t kMostLead = 4096;

  uint64_t oldest_ = 0;
  uint64_t newest_ = 0;
  uint64_t lead_ = 0;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_VERSION_CHOICE_H_
