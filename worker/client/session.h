// SessionCore: every decision of one worker about rounds, as a plain state machine; the worker's side of
// server/core/shard.h.
//
//   Announced(g, resume) -> attach to every shard with the first round that this worker lacks
//   Contribute(round)    -> send the contribution; after a generation change, send it again
//   Parameters, Complete -> when every shard has sent every block and said complete: Held(version)
//   Parameters, Complete of a newer version than the next: the round was closed without this worker (round policies),
//                           and the shards give it that version; it is awaited from now on
//
// Invariants:
//   1. A version is held only when every shard has completed it in the generation that this worker knows.
//   2. The held version never goes back, unless the coordinator says that the run has been rolled back to a checkpoint;
//      any other generation that would take it back ends the session with an error.
//   3. Nothing of an older generation counts.
//   4. Nothing is stored unless the caller waits for a version: its memory is its own in between. What comes
//      nevertheless is asked for again with the next contribution.
//
// Thread-safety: none; the driver (worker/client/worker_impl.cc) holds the lock. No I/O, threads, clocks or randomness.
#ifndef LOCKSTEP_WORKER_CLIENT_SESSION_H_
#define LOCKSTEP_WORKER_CLIENT_SESSION_H_

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "common/ids.h"

namespace lockstep::client {

struct SessionOptions {
  Member me;
  uint32_t connections = 1;                // to each shard
  std::vector<uint32_t> blocks_per_shard;  // by shard index
};

// ---- Events ----

// Every shard has installed the generation; version resume - 1 is committed.
struct GenerationAnnounced {
  Generation generation;
  Round resume;
  std::vector<Member> members;  // ascending by rank
  // The newest generation that began by going back to a checkpoint; 0: none. If it is newer than what this worker
  // knows, what it holds is void: it takes version resume - 1, whatever it has.
  Generation rolled_back_in = {};
};
// A connection is ready to send.
struct Connected {
  ShardIndex shard;
  uint32_t connection = 0;
};
struct Disconnected {
  ShardIndex shard;
  uint32_t connection = 0;
};
// The caller contributes to the round after the version that it holds (round 0: brings initial values).
struct Contribute {
  Round round;
};
// A block of `version` has come from a shard.
struct ParametersArrived {
  ShardIndex shard;
  Generation generation;
  Version version;
  Slot slot;
};
// The driver has finished StoreBlock for it.
struct BlockStored {
  ShardIndex shard;
  Generation generation;
  Version version;
  Slot slot;
};
struct CompleteArrived {
  ShardIndex shard;
  Generation generation;
  Version version;
  Generation completed_in;
  std::vector<Rank> participants;
};

// ---- Effects ----

struct SendAttach {
  ShardIndex shard;
  uint32_t connection = 0;
  Generation generation;
  Round next;
};
// Send the part of the contribution that goes over this connection: the shard's blocks whose slot modulo the number of
// connections is `connection`; on connection 0 also what has no payload.
struct SendContribution {
  ShardIndex shard;
  uint32_t connection = 0;
  Generation generation;
  Round round;
};
// Write the block that has just come to the caller's memory, then give BlockStored. Blocks of one place always come
// over the same connection, one after the other, so that none is written while another one is.
struct StoreBlock {};
// The worker holds `version` on every shard. A contribution to that round, or one before, is settled.
struct VersionHeld {
  Version version;
  std::vector<Rank> participants;
  // The worker's contribution made this version. False if there was none, or if its round was closed without it.
  bool counted = false;
  bool rolled_back = false;  // the run has gone back to this version; a contribution that was pending is void
};
// The session cannot go on.
struct SessionFailed {
  absl::Status status;
};

using SessionEffect = std::variant<SendAttach, SendContribution, StoreBlock, VersionHeld, SessionFailed>;
using SessionEffects = std::vector<SessionEffect>;

// What one shard still owes for the version that is awaited.
struct Awaited {
  ShardIndex shard;
  uint32_t blocks = 0;
  bool complete = false;
};

class SessionCore {
 public:
  explicit SessionCore(SessionOptions options);

  // Each appends to `effects` what is to be done, in order.
  void Step(const GenerationAnnounced& event, SessionEffects& effects);
  void Step(const Connected& event, SessionEffects& effects);
  void Step(const Disconnected& event, SessionEffects& effects);
  void Step(const Contribute& event, SessionEffects& effects);
  void Step(const ParametersArrived& event, SessionEffects& effects);
  void Step(const BlockStored& event, SessionEffects& effects);
  void Step(const CompleteArrived& event, SessionEffects& effects);

  // ---- Questions ----
  Generation generation() const { return generation_; }
  // The first round whose version this worker lacks.
  Round next() const { return next_; }
  // This worker holds a version, or did before the run was rolled back.
  bool defined() const { return defined_; }
  // The version that is awaited now, and by shard what is still missing of it.
  Version target() const { return target_; }
  std::vector<Awaited> AwaitedFrom() const;
  // The block of the awaited version has come already (in this generation).
  bool HasReceived(ShardIndex shard, Slot slot) const { return shards_[shard.value()].received[slot.value()]; }

 private:
  friend class StateReader;  // tests/sim/exploration: tells states apart
  struct Shard {
    std::vector<bool> connected;  // per connection
    std::vector<bool> received;   // per slot, of the awaited version
    uint32_t stored = 0;
    bool complete = false;
    Generation completed_in;
    std::vector<Rank> participants;
  };

  // The shard that sent it, if it is of the awaited version and the known generation; else null.
  Shard* Current(ShardIndex shard, Generation generation, Version version);
  bool Takes(Generation generation, Version version);
  bool Wants() const;
  void GreetAll(SessionEffects& effects) const;
  void Await(Version target);
  bool Contributes() const;
  void Greet(ShardIndex shard, uint32_t connection, SessionEffects& effects) const;
  void HoldIfComplete(SessionEffects& effects);

  const SessionOptions options_;
  Generation generation_;
  std::vector<Member> members_;
  Round resume_;
  Round next_;
  bool defined_ = false;
  bool rolled_back_ = false;  // the version that the run has gone back to is not here yet
  Version target_;
  std::optional<Round> pending_;  // the caller's contribution that is not settled
  bool greet_again_ = false;      // something was not asked for, or not taken, because the caller did not wait
  std::vector<Shard> shards_;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_SESSION_H_
