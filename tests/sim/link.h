// One stream between two processes: both directions keep their order, and each message takes its own time.
//
// A break loses what is on its way, but for a prefix that was already beyond the break: that still arrives. A partition
// holds up what is on its way, in one direction or both, until it heals or somebody's keepalive gives up. Each end
// learns of the break some time after the last message that it gets, so that a client may have opened a new stream long
// before the server has read the last of the old one.
#ifndef LOCKSTEP_TESTS_SIM_LINK_H_
#define LOCKSTEP_TESTS_SIM_LINK_H_

#include <array>
#include <cstdint>
#include <deque>
#include <functional>

#include "absl/time/time.h"
#include "tests/sim/process.h"
#include "tests/sim/world.h"

namespace lockstep::sim {

enum class LinkKind { kWorkerToCoordinator, kShardToCoordinator, kWorkerToShard };
enum class End { kClient, kServer };

class Link {
 public:
  // `number` tells streams apart in the order in which they were opened. `reopened`: the client had one like it before.
  Link(World& world, LinkKind kind, uint64_t number, bool reopened, Process& client, Process& server);

  LinkKind kind() const { return kind_; }
  uint64_t number() const { return number_; }
  bool reopened() const { return reopened_; }
  bool open() const { return open_; }
  Process& process(End end) const { return *direction(end).receiver; }

  // `deliver` is run at that end, unless the stream breaks or the process dies before.
  void Send(End to, std::function<void()> deliver);
  // What that end does when it learns that the stream is gone.
  void WhenClosed(End at, std::function<void()> closed) { direction(at).closed = std::move(closed); }
  // That end takes no further message before so much time has passed.
  void Hold(End at, absl::Duration time);

  // The network lets nothing through to that end for a while.
  void Stall(End to, absl::Time until);
  // Something is held up.
  bool stalled() const;
  // The network fails.
  void Break();
  // One end ends the stream properly: what it has sent arrives.
  void Close();

 private:
  struct Item {
    absl::Time ready;
    std::function<void()> deliver;
  };
  struct Direction {
    Process* receiver;
    std::deque<Item> items;
    bool pumping = false;
    uint64_t pump = 0;  // number of the planned one
    absl::Time stalled_until = absl::InfinitePast();
    absl::Time last_ready = absl::InfinitePast();
    absl::Time busy_until = absl::InfinitePast();
    std::function<void()> closed = [] {};
  };

  Direction& direction(End end) { return directions_[static_cast<size_t>(end)]; }
  const Direction& direction(End end) const { return directions_[static_cast<size_t>(end)]; }
  void Push(End to, absl::Duration delay, std::function<void()> deliver);
  void PushClosed(End at, absl::Duration most);
  absl::Time Ready(const Direction& d) const;
  // What is held up in that direction is lost.
  void Drop(Direction& d);
  void PumpLater(End to);
  void Pump(End to, uint64_t number);
  absl::Duration DrawDelay();

  World& world_;
  const LinkKind kind_;
  const uint64_t number_;
  const bool reopened_;
  bool open_ = true;
  std::array<Direction, 2> directions_;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_LINK_H_
