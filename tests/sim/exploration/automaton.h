// One process as the exploration sees it: a real core and its driver's memory (a "state"), and the messages that may
// still arrive (the "inbox"); both together are a "local".
//
// The core is pure, so that each (state, action) is taken once and remembered: this is where the exploration gets its
// speed from. States and locals are numbered; what the explorer moves about are numbers.
//
// A message stays in the inbox after its arrival: it may arrive again. It leaves when it can never again have an
// effect: when it has none now, and IsPast says that this will not change. That only makes equal locals look equal.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_AUTOMATON_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_AUTOMATON_H_

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/container/node_hash_map.h"
#include "tests/sim/exploration/messages.h"
#include "tests/sim/exploration/options.h"
#include "tests/sim/exploration/values.h"

namespace lockstep::exploration {

// What all processes share.
struct Context {
  Options options;
  Values values;
  Messages messages;
};

enum class ActionKind : uint8_t {
  kDeliver,           // the message `argument` arrives
  kReduce,            // a reduction ends
  kJournal,           // the journal has what was being written
  kReconnect,         // the stream to shard `argument` breaks and is opened again
  kDetach,            // a shard notices that the stream of rank `argument` has ended
  kCrash,             // killed, and back with its disk
  kCrashWithJournal,  // the same, but what was being written is on the disk
  kPowerLoss,         // the same, but the newest `argument` records were never synced, and are gone
};

struct Action {
  ActionKind kind;
  uint16_t argument = 0;
};

// What comes of an action.
struct Outcome {
  Action action;
  uint32_t next = 0;  // state
  absl::InlinedVector<MessageId, 4> sent;
  ValueId held = kNoValue;  // the worker holds it from now on
  ValueId disk = kNoValue;  // shards: the newest version that the disk would come back to
  std::string violation;
  bool optional = false;  // a fault: nobody waits for it
  bool beyond = false;    // would start a generation beyond the bound
};

class Automaton {
 public:
  // A number that stands for no process at all.
  static constexpr uint32_t kNobody = 0;
  struct Step {
    const Outcome* outcome;
    uint32_t next;  // local
  };

  explicit Automaton(Context& context) : context_(context), locals_(1) {}
  virtual ~Automaton() = default;
  Automaton(const Automaton&) = delete;
  Automaton& operator=(const Automaton&) = delete;

  // The local in which the process begins.
  uint32_t Begin() { return FindLocal(0, {}); }
  // `message` has been sent to a process in `local`.
  uint32_t Receive(uint32_t local, MessageId message);
  // All that can happen next. Valid until the end.
  const std::vector<Step>& Steps(uint32_t local);
  uint32_t state(uint32_t local) const { return locals_[local].state; }
  virtual size_t states() const = 0;
  size_t locals() const { return locals_.size() - 1; }
  std::string Text(Place place, const Action& action) const;

 protected:
  // State 0 is the first. Runs the core.
  virtual Outcome Take(uint32_t state, Action action) = 0;
  // What the process may do without a message.
  virtual std::vector<Action> OwnActions(uint32_t state) const = 0;
  // If `message` has no effect in `state`, it will not have one later either.
  virtual bool IsPast(uint32_t state, const Content& message) const = 0;
  // A message that the driver does not let in now.
  virtual bool IsHeldBack(uint32_t, const Content&) const { return false; }

  Context& context_;

 private:
  using Inbox = std::vector<MessageId>;  // ascending
  struct Local {
    uint32_t state = 0;
    Inbox inbox;
    bool expanded = false;
    std::vector<Step> steps;
  };

  const Outcome& TakeOnce(uint32_t state, Action action);
  bool IsDead(uint32_t state, MessageId message);
  uint32_t FindLocal(uint32_t state, Inbox inbox);
  void AddStep(uint32_t local, Action action);

  absl::node_hash_map<uint64_t, Outcome> outcomes_;  // by state and action
  std::deque<Local> locals_;
  absl::flat_hash_map<std::pair<uint32_t, Inbox>, uint32_t> local_ids_;
  absl::flat_hash_map<uint64_t, uint32_t> received_;  // by local and message
};

// States of one kind, numbered; `State` has `std::string Key() const`.
template <class State>
class StateTable {
 public:
  uint32_t Intern(State state) {
    const auto [at, is_new] = ids_.try_emplace(state.Key(), static_cast<uint32_t>(states_.size()));
    if (is_new) states_.push_back(std::move(state));
    return at->second;
  }
  const State& operator[](uint32_t id) const { return states_[id]; }
  size_t size() const { return states_.size(); }

 private:
  std::deque<State> states_;
  absl::flat_hash_map<std::string, uint32_t> ids_;
};

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_AUTOMATON_H_
