// What all parts of one simulated run share: virtual time, the queue of things to come, chance, the trace and the
// verdict.
//
// Time jumps from one thing to the next; things of the same moment happen in the order in which they were planned. So a
// run is a function of its plan alone, on every machine, and TraceHash() proves it.
//
// Thread-safety: none; one run belongs to one thread.
#ifndef LOCKSTEP_TESTS_SIM_WORLD_H_
#define LOCKSTEP_TESTS_SIM_WORLD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/strings/substitute.h"
#include "absl/time/time.h"
#include "common/ids.h"
#include "tests/sim/clock.h"
#include "tests/sim/occurrences.h"
#include "tests/sim/oracle.h"
#include "tests/sim/plan.h"
#include "tests/sim/random.h"

namespace lockstep::sim {

class World {
 public:
  World(const Plan& plan, PlantedBug bug, bool trace)
      : plan_(plan), bug_(bug), trace_(trace), oracle_(plan_), random_(Mix({plan.seed, 2})) {}

  const Plan& plan() const { return plan_; }
  const Oracle& oracle() const { return oracle_; }
  // The run goes back; see Oracle::RollBack.
  void NoteRollback(Generation began, Version to, bool replaces);
  // A shard makes a version of these ranks' contributions; see Oracle::Make.
  void NoteMade(Generation generation, Version version, const std::vector<Rank>& participants);
  Random& random() { return random_; }
  bool has(PlantedBug bug) const { return bug_ == bug; }

  // ---- Time ----
  absl::Time now() const { return now_; }
  void At(absl::Time when, std::function<void()> what);
  // Does the next thing; false when there is none.
  bool Step();
  uint64_t steps() const { return steps_; }

  // The steady clock of a place, until its machine starts anew.
  SteadyClock ClockOf(uint64_t place) { return {plan_.seed, place, boots_[place]}; }
  void Reboot(uint64_t place) { ++boots_[place]; }
  // The wall clock of a place: it jumps, and decides nothing.
  absl::Time wall(uint64_t place) { return now_ + wall_ahead_[place]; }
  void JumpWall(uint64_t place, absl::Duration by) { wall_ahead_[place] += by; }

  // ---- What happened ----
  void Count(Occurrence kind) { occurrences_.Count(kind); }
  const Occurrences& occurrences() const { return occurrences_; }

  // A line of the trace, with $0, $1 ... for the numbers and ids.
  template <class... Values>
  void Trace(absl::string_view format, Values... values) {
    HashText(format);
    (HashNumber(Number(values)), ...);
    if (trace_) Print(absl::Substitute(format, Number(values)...));
  }
  // A remark that adds nothing to the hash.
  void Remark(absl::string_view text) {
    if (trace_) Print(text);
  }
  uint64_t trace_hash() const { return hash_; }

  // A guarantee is broken. The first violation counts; the run ends with the step.
  void Violate(std::string message);
  // `holds` or a violation.
  void Expect(bool holds, absl::string_view message) {
    if (!holds) Violate(std::string(message));
  }
  const std::optional<std::string>& violation() const { return violation_; }

  // The newest version that any worker has held in the newest history; absent: none.
  const std::optional<Version>& newest_held() const { return oracle_.Held(oracle_.began()); }
  void NoteHeld(Generation generation, Version version) { oracle_.NoteHeld(generation, version); }
  // A shard has lost its memory and a worker or the coordinator has said so: the expected end of such a run.
  void NoteLossReported() { loss_reported_ = true; }
  bool loss_reported() const { return loss_reported_; }

 private:
  struct Planned {
    absl::Time when;
    uint64_t number;
    std::function<void()> what;
    bool operator<(const Planned& other) const {
      return std::tie(when, number) > std::tie(other.when, other.number);  // the earliest on top
    }
  };

  template <class Value>
  static uint64_t Number(Value value) {
    if constexpr (requires { value.value(); }) {
      return value.value();
    } else {
      return static_cast<uint64_t>(value);
    }
  }
  void HashNumber(uint64_t number) { hash_ = (hash_ ^ number) * 0x100000001b3; }
  void HashText(absl::string_view text) {
    for (char c : text) HashNumber(static_cast<unsigned char>(c));
  }
  void Print(absl::string_view line) const;

  const Plan plan_;
  const PlantedBug bug_;
  const bool trace_;
  Oracle oracle_;
  Random random_;
  absl::Time now_ = absl::UnixEpoch();
  std::priority_queue<Planned> queue_;
  uint64_t planned_ = 0;
  std::map<uint64_t, uint64_t> boots_;             // by place
  std::map<uint64_t, absl::Duration> wall_ahead_;  // by place
  uint64_t steps_ = 0;
  Occurrences occurrences_;
  uint64_t hash_ = 0xcbf29ce484222325;
  std::optional<std::string> violation_;
  bool loss_reported_ = false;
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_WORLD_H_
