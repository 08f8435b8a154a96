#include "worker/client/session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/mutation.h"

namespace lockstep::client {

SessionCore::SessionCore(SessionOptions options)
    : options_(std::move(options)), shards_(options_.blocks_per_shard.size()) {
  for (Shard& shard : shards_) shard.connected.resize(options_.connections, false);
  Await(Version(0));
}

void SessionCore::Await(Version target) {
  target_ = target;
  for (size_t s = 0; s < shards_.size(); ++s) {
    shards_[s].received.assign(options_.blocks_per_shard[s], false);
    shards_[s].stored = 0;
    shards_[s].complete = false;
  }
}

void SessionCore::Step(const GenerationAnnounced& event, SessionEffects& effects) {
  if (event.generation <= generation_) return;
  const bool rolled_back = defined_ && event.rolled_back_in > generation_;
  if (rolled_back && Mutated(Mutation::kKeepAbandoned)) {
    next_ = std::min(next_, event.resume);
  } else if (rolled_back) {
    rolled_back_ = true;
    next_ = event.resume.previous();
  }
  if (next_ > event.resume) {
    effects.push_back(SessionFailed{absl::DataLossError(
        absl::StrCat("the run resumes at round ", event.resume.value(), ", but this worker already holds version ",
                     next_.value() - 1, ": the servers have lost a version"))});
    return;
  }
  generation_ = event.generation;
  members_ = event.members;
  resume_ = event.resume;
  Await(next_ < resume_ ? resume_.previous() : next_);
  greet_again_ = !Wants();
  if (!greet_again_) GreetAll(effects);
}

// Nothing can come that the caller does not wait for: it waits, or it lacks nothing.
bool SessionCore::Wants() const {
  return pending_.has_value() || (next_ == Round(0) && !rolled_back_) || next_ >= resume_;
}

void SessionCore::GreetAll(SessionEffects& effects) const {
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    for (uint32_t c = 0; c < options_.connections; ++c) {
      if (shards_[s].connected[c]) Greet(ShardIndex(s), c, effects);
    }
  }
}

void SessionCore::Step(const Connected& event, SessionEffects& effects) {
  shards_[event.shard.value()].connected[event.connection] = true;
  if (generation_ == Generation(0)) return;
  if (Wants()) return Greet(event.shard, event.connection, effects);
  greet_again_ = true;
}

void SessionCore::Step(const Disconnected& event, SessionEffects&) {
  shards_[event.shard.value()].connected[event.connection] = false;
}

void SessionCore::Step(const Contribute& event, SessionEffects& effects) {
  pending_ = event.round;
  if (std::exchange(greet_again_, false)) return GreetAll(effects);
  if (!Contributes()) return;
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    for (uint32_t c = 0; c < options_.connections; ++c) {
      if (shards_[s].connected[c]) effects.push_back(SendContribution{ShardIndex(s), c, generation_, *pending_});
    }
  }
}

// The pending contribution is one for the round that the shards collect in this generation.
bool SessionCore::Contributes() const {
  if (!pending_ || rolled_back_ || generation_ == Generation(0) || *pending_ != next_ || next_ < resume_) return false;
  return *pending_ > Round(0) || (!members_.empty() && members_.front() == options_.me);
}

void SessionCore::Greet(ShardIndex shard, uint32_t connection, SessionEffects& effects) const {
  effects.push_back(SendAttach{shard, connection, generation_, next_});
  if (Mutated(Mutation::kForgetToSendAgain)) return;
  if (Contributes()) effects.push_back(SendContribution{shard, connection, generation_, *pending_});
}

SessionCore::Shard* SessionCore::Current(ShardIndex shard, Generation generation, Version version) {
  if (Mutated(Mutation::kTakeOldVersions)) generation = generation_;
  return generation == generation_ && version == target_ ? &shards_[shard.value()] : nullptr;
}

// Whether something of `version` may be taken. If it is beyond the one awaited, the shards have closed rounds without
// this worker, and give it that one.
bool SessionCore::Takes(Generation generation, Version version) {
  if (generation != generation_ || version < target_) return true;  // Current tells
  if (!pending_ && next_ > Round(0)) {
    greet_again_ = true;
    return false;
  }
  if (version == target_ || Mutated(Mutation::kNeverJump)) return true;
  if (Mutated(Mutation::kJumpPartly)) {
    target_ = version;
  } else {
    Await(version);
  }
  return true;
}

void SessionCore::Step(const ParametersArrived& event, SessionEffects& effects) {
  if (!Takes(event.generation, event.version)) return;
  Shard* shard = Current(event.shard, event.generation, event.version);
  if (shard == nullptr || event.slot.value() >= shard->received.size() || shard->received[event.slot.value()]) return;
  shard->received[event.slot.value()] = true;
  effects.push_back(StoreBlock{});
}

void SessionCore::Step(const BlockStored& event, SessionEffects& effects) {
  Shard* shard = Current(event.shard, event.generation, event.version);
  if (shard == nullptr) return;
  ++shard->stored;
  HoldIfComplete(effects);
}

void SessionCore::Step(const CompleteArrived& event, SessionEffects& effects) {
  if (!Takes(event.generation, event.version)) return;
  Shard* shard = Current(event.shard, event.generation, event.version);
  if (shard == nullptr || shard->complete) return;
  shard->complete = true;
  shard->completed_in = event.completed_in;
  shard->participants = event.participants;
  HoldIfComplete(effects);
}

void SessionCore::HoldIfComplete(SessionEffects& effects) {
  for (const Shard& shard : shards_) {
    const bool stored = shard.stored == shard.received.size() || Mutated(Mutation::kHoldUnstored);
    if (!shard.complete || !stored) return;
    if (Mutated(Mutation::kHoldPartly)) break;
  }
  for (const Shard& shard : shards_) {
    if (shard.completed_in == shards_[0].completed_in && shard.participants == shards_[0].participants) continue;
    effects.push_back(SessionFailed{absl::InternalError(absl::StrCat(
        "version ", target_.value(), " was completed in generation ", shards_[0].completed_in.value(),
        " on shard 0, but in generation ", shard.completed_in.value(), " on shard ", &shard - shards_.data()))});
    return;
  }
  const Version held = target_;
  VersionHeld effect{.version = held,
                     .participants = std::move(shards_[0].participants),
                     .counted = false,
                     .rolled_back = std::exchange(rolled_back_, false)};
  const bool took_part =
      std::find(effect.participants.begin(), effect.participants.end(), options_.me.rank) != effect.participants.end();
  effect.counted = !effect.rolled_back && pending_ == held && (took_part || Mutated(Mutation::kCountDropped));
  next_ = held.next();
  defined_ = true;
  if (effect.rolled_back || (pending_ && *pending_ <= held)) pending_.reset();
  Await(next_);
  effects.push_back(std::move(effect));
}

std::vector<Awaited> SessionCore::AwaitedFrom() const {
  std::vector<Awaited> awaited;
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    const auto blocks = static_cast<uint32_t>(shards_[s].received.size()) - shards_[s].stored;
    if (blocks > 0 || !shards_[s].complete) awaited.push_back({ShardIndex(s), blocks, shards_[s].complete});
  }
  return awaited;
}

}  // namespace lockstep::client
