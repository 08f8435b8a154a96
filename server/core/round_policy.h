// RoundPolicy: whose contributions make a round; RoundDecider: the one decision per round that policies other than
// `all` need, so that the set is the same on every shard (design.md, section 5).
//
//   a shard holds a rank's contribution whole -> Whole      -> Decision: every shard closes the round with these ranks
//   a shard can give a rank nothing newer     -> Waits      -> Gift: every shard gives the rank this version
//   time passes                               -> Tick       -> Decision
//
// What a rank is given. In such a run a version goes to whom the coordinator gives it, and to nobody else: to the ranks
// that made it (by the decision), and to a rank that waits although it did not. Since all of this goes to the shards in
// one order, every shard sends a rank the same versions, and never a second one before the rank has shown that it holds
// the first (it contributes to the round after), or has lost a connection. So a straggler costs a shard one version of
// memory at most, and catches up at once, however far the others are.
//
// A decision lives as long as its generation. It need not be durable: a coordinator that comes back starts a new
// generation, in which a round that is not complete on every shard is undone and decided again; one that is complete
// everywhere was completed by one decision.
//
// Thread-safety: none. No I/O, threads, clocks or randomness: `now` is given.
#ifndef LOCKSTEP_SERVER_CORE_ROUND_POLICY_H_
#define LOCKSTEP_SERVER_CORE_ROUND_POLICY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/ids.h"

namespace lockstep::core {

struct RoundPolicy {
  enum class Kind {
    kAll,       // every member
    kQuorum,    // the first `contributors` whose contribution is whole on every shard
    kDeadline,  // those whose contribution is whole on every shard `deadline` after the first one was, but at least
                // `contributors`; all members end the round at once
  };
  Kind kind = Kind::kAll;
  uint32_t contributors = 1;  // of a smaller generation: all of it
  absl::Duration deadline = absl::InfiniteDuration();

  // The coordinator decides each round but the first, which brings the initial values.
  bool decides() const { return kind != Kind::kAll; }
  friend bool operator==(const RoundPolicy&, const RoundPolicy&) = default;
};

// "all", "quorum(3)", "deadline(500ms, 2)".
std::string ToString(const RoundPolicy& policy);

// INVALID_ARGUMENT if a run that may have so many workers could never, or would always, do what the policy says.
absl::Status CheckPolicy(const RoundPolicy& policy, uint32_t workers);

class RoundDecider {
 public:
  // The round is closed with these ranks, and they are given its version.
  struct Decision {
    Round round;
    std::vector<Rank> participants;  // ascending
  };
  // The rank is given that version.
  struct Gift {
    Rank rank;
    Version version;
  };

  // A policy that decides.
  RoundDecider(const RoundPolicy& policy, uint32_t shards) : policy_(policy), shards_(shards) {}

  // The generation is announced; `resume` is the round that is collected next.
  void Begin(Generation generation, Round resume, const std::vector<Member>& members);
  // Another generation is on its way: nothing is decided any more.
  void End() { generation_ = Generation(0); }

  // Absent: nothing is to be done (yet). Of another round than the one in progress, or a rank that is no member: too.
  std::optional<Decision> Whole(ShardIndex shard, Rank rank, Round round, absl::Time now);
  // `given`: the newest version that the shard knows to be given to the rank.
  std::optional<Gift> Waits(Rank rank, Version given);
  std::optional<Decision> Tick(absl::Time now);

  // ---- Questions ----
  // That Begin gave, unless ended; 0: none.
  Generation generation() const { return generation_; }
  // The round that is not decided yet.
  Round round() const { return decided_.next(); }
  // Ranks whose contribution to it is whole on every shard, in the order in which that came about.
  const std::vector<Rank>& ready() const { return ready_; }
  // How many ranks the round needs before it can be closed.
  uint32_t needed() const;
  // When Tick may decide; InfiniteFuture: not before something else happens.
  absl::Time wakes_at() const;

 private:
  struct Worker {
    Rank rank;
    Version given;
    std::vector<bool> whole;  // per shard, of the round in progress
    uint32_t whole_on = 0;    // shards
  };

  Worker* Find(Rank rank);
  bool IsClosed(absl::Time now) const;
  std::optional<Decision> DecideIfClosed(absl::Time now);

  RoundPolicy policy_;
  uint32_t shards_;
  Generation generation_;
  Version decided_;
  std::vector<Worker> workers_;  // members, ascending by rank
  std::vector<Rank> ready_;
  absl::Time first_ready_ = absl::InfiniteFuture();
};

}  // namespace lockstep::core

#endif  // LOCKSTEP_SERVER_CORE_ROUND_POLICY_H_
