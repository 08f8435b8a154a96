#include "tests/sim/link.h"

#include <algorithm>
#include <utility>

namespace lockstep::sim {

Link::Link(World& world, LinkKind kind, uint64_t number, bool reopened, Process& client, Process& server)
    : world_(world), kind_(kind), number_(number), reopened_(reopened) {
  direction(End::kClient).receiver = &client;
  direction(End::kServer).receiver = &server;
}

absl::Duration Link::DrawDelay() {
  const absl::Duration delay = world_.random().Skewed(absl::Microseconds(50), world_.plan().delay);
  return world_.random().Chance(world_.plan().faults.delay_spike) ? 20 * delay : delay;
}

void Link::Send(End to, std::function<void()> deliver) {
  if (open_) Push(to, DrawDelay(), std::move(deliver));
}

void Link::Push(End to, absl::Duration delay, std::function<void()> deliver) {
  Direction& d = direction(to);
  d.last_ready = std::max(d.last_ready, world_.now() + delay);
  d.items.push_back({d.last_ready, std::move(deliver)});
  PumpLater(to);
}

void Link::PumpLater(End to) {
  Direction& d = direction(to);
  if (d.pumping || d.items.empty()) return;
  d.pumping = true;
  world_.At(std::max(world_.now(), Ready(d)),
            [this, to, number = ++d.pump] { direction(to).receiver->Run([this, to, number] { Pump(to, number); }); });
}

absl::Time Link::Ready(const Direction& d) const {
  return std::max({d.items.front().ready, d.busy_until, d.stalled_until});
}

void Link::Pump(End to, uint64_t number) {
  Direction& d = direction(to);
  if (number != d.pump) return;
  d.pumping = false;
  if (!d.items.empty() && Ready(d) <= world_.now()) {
    auto deliver = std::move(d.items.front().deliver);
    d.items.pop_front();
    deliver();
  }
  PumpLater(to);
}

void Link::Hold(End at, absl::Duration time) {
  direction(at).busy_until = std::max(direction(at).busy_until, world_.now() + time);
}

void Link::Stall(End to, absl::Time until) {
  direction(to).stalled_until = std::max(direction(to).stalled_until, until);
}

bool Link::stalled() const {
  return std::any_of(directions_.begin(), directions_.end(),
                     [this](const Direction& d) { return d.stalled_until > world_.now(); });
}

void Link::Drop(Direction& d) {
  d.items.clear();
  d.stalled_until = absl::InfinitePast();
  d.pumping = false;
  ++d.pump;
}

void Link::PushClosed(End at, absl::Duration most) {
  const absl::Duration delay = world_.random().Skewed(absl::ZeroDuration(), most);
  Push(at, delay, [this, at] { direction(at).closed(); });
}

void Link::Break() {
  if (!open_) return;
  open_ = false;
  // Behind a partition the ends learn of it by themselves, one perhaps long after the other.
  const absl::Duration most = stalled() ? absl::Seconds(2) : absl::Milliseconds(300);
  for (End end : {End::kClient, End::kServer}) {
    if (direction(end).stalled_until > world_.now()) Drop(direction(end));
    auto& items = direction(end).items;
    items.erase(items.begin() + static_cast<int64_t>(world_.random().Below(items.size() + 1)), items.end());
    if (world_.random().Chance(300)) Hold(end, world_.random().Between(absl::ZeroDuration(), absl::Milliseconds(300)));
    PushClosed(end, most);
  }
}

void Link::Close() {
  if (!open_) return;
  open_ = false;
  PushClosed(End::kClient, absl::Milliseconds(300));
  PushClosed(End::kServer, absl::Milliseconds(300));
}

}  // namespace lockstep::sim
