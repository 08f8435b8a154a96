#include "server/core/round_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/mutation.h"

namespace lockstep::core {

std::string ToString(const RoundPolicy& policy) {
  switch (policy.kind) {
    case RoundPolicy::Kind::kAll:
      return "all";
    case RoundPolicy::Kind::kQuorum:
      return absl::StrCat("quorum(", policy.contributors, ")");
    case RoundPolicy::Kind::kDeadline:
      return absl::StrCat("deadline(", absl::FormatDuration(policy.deadline), ", ", policy.contributors, ")");
  }
  return "?";
}

absl::Status CheckPolicy(const RoundPolicy& policy, uint32_t workers) {
  if (!policy.decides()) return absl::OkStatus();
  if (policy.contributors < 1 || policy.contributors > workers) {
    return absl::InvalidArgumentError(absl::StrCat(ToString(policy), ": expected 1 to ", workers,
                                                   " contributors, as many as there are workers, but got ",
                                                   policy.contributors));
  }
  if (policy.kind == RoundPolicy::Kind::kDeadline &&
      (policy.deadline <= absl::ZeroDuration() || policy.deadline == absl::InfiniteDuration())) {
    return absl::InvalidArgumentError(
        absl::StrCat(ToString(policy), ": expected a time that passes, such as 500ms, for stragglers to come in"));
  }
  return absl::OkStatus();
}

void RoundDecider::Begin(Generation generation, Round resume, const std::vector<Member>& members) {
  generation_ = generation;
  decided_ = resume == Round(0) ? resume : resume.previous();
  workers_.clear();
  for (const Member& member : members) {
    workers_.push_back({.rank = member.rank, .given = decided_, .whole = std::vector<bool>(shards_), .whole_on = 0});
  }
  ready_.clear();
  first_ready_ = absl::InfiniteFuture();
}

RoundDecider::Worker* RoundDecider::Find(Rank rank) {
  const auto at = std::lower_bound(workers_.begin(), workers_.end(), rank,
                                   [](const Worker& worker, Rank r) { return worker.rank < r; });
  return at != workers_.end() && at->rank == rank ? &*at : nullptr;
}

std::optional<RoundDecider::Decision> RoundDecider::Whole(ShardIndex shard, Rank rank, Round round, absl::Time now) {
  Worker* worker = Find(rank);
  if (round != decided_.next() || worker == nullptr || worker->whole[shard.value()]) return std::nullopt;
  worker->whole[shard.value()] = true;
  const uint32_t wanted = Mutated(Mutation::kDecideHalfWhole) ? std::max(1u, shards_ - 1) : shards_;
  if (++worker->whole_on != wanted) return std::nullopt;
  ready_.push_back(rank);
  first_ready_ = std::min(first_ready_, now);
  return DecideIfClosed(now);
}

uint32_t RoundDecider::needed() const { return std::min(policy_.contributors, static_cast<uint32_t>(workers_.size())); }

bool RoundDecider::IsClosed(absl::Time now) const {
  if (ready_.size() == workers_.size()) return true;
  const bool enough = ready_.size() >= needed();
  return enough && (policy_.kind == RoundPolicy::Kind::kQuorum || now - first_ready_ >= policy_.deadline);
}

std::optional<RoundDecider::Decision> RoundDecider::DecideIfClosed(absl::Time now) {
  if (!IsClosed(now)) return std::nullopt;
  decided_ = decided_.next();
  Decision decision{.round = decided_, .participants = std::move(ready_)};
  std::sort(decision.participants.begin(), decision.participants.end());
  for (Rank rank : decision.participants) Find(rank)->given = decided_;
  ready_.clear();
  first_ready_ = absl::InfiniteFuture();
  for (Worker& worker : workers_) {
    worker.whole.assign(shards_, false);
    worker.whole_on = 0;
  }
  return decision;
}

std::optional<RoundDecider::Gift> RoundDecider::Waits(Rank rank, Version given) {
  Worker* worker = Find(rank);
  // Another shard has said so, too, and what came of it is on its way.
  if (worker == nullptr || worker->given > given) return std::nullopt;
  worker->given = decided_;
  return Gift{.rank = rank, .version = decided_};
}

absl::Time RoundDecider::wakes_at() const {
  const bool enough = generation_ > Generation(0) && ready_.size() >= needed();
  return enough && policy_.kind == RoundPolicy::Kind::kDeadline ? first_ready_ + policy_.deadline
                                                                : absl::InfiniteFuture();
}

std::optional<RoundDecider::Decision> RoundDecider::Tick(absl::Time now) {
  if (generation_ == Generation(0) || ready_.empty()) return std::nullopt;
  return DecideIfClosed(now);
}

}  // namespace lockstep::core
