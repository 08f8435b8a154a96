#include "server/core/checkpoints.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/mutation.h"

namespace lockstep::core {
namespace {

constexpr uint64_t kFarthestAhead = uint64_t{1} << 20;

}  // namespace

void CheckpointCore::Name(Version version, CheckpointEffects& effects) {
  target_ = version;
  std::fill(parts_.begin(), parts_.end(), std::nullopt);
  effects.push_back(AskForCheckpoint{version});
}

// Names the version that is due next, if none is under way or one that is wanted can be had sooner.
void CheckpointCore::NameNext(absl::Time now, CheckpointEffects& effects) {
  if (!next_ || writing_manifest_) return;
  const Version soonest = Soonest();
  const bool begun =
      target_ && (target_->value() <= soonest.value() ||
                  std::any_of(parts_.begin(), parts_.end(), [](const auto& p) { return p.has_value(); }));
  if (begun) return;
  if (wanted_ || DueByClock(now)) {
    begun_ = now;
    return Name(soonest, effects);
  }
  if (target_ || triggers_.rounds == 0) return;
  const uint64_t multiple = (soonest.value() + triggers_.rounds - 1) / triggers_.rounds;
  Name(Version(multiple * triggers_.rounds), effects);
}

void CheckpointCore::GiveUp(std::string error) {
  target_.reset();
  if (error.empty()) return;
  wanted_ = false;
  ++failures_;
  trouble_ = std::move(error);
}

void CheckpointCore::Step(const GenerationBegins& event, absl::Time now, CheckpointEffects& effects) {
  if (!next_) begun_ = now;
  next_ = event.resume;
  if (event.restored && newest_ && *newest_ >= event.resume) newest_.reset();  // given up with what came after it
  if (writing_manifest_) {
    given_up_ |= event.restored && *target_ >= event.resume;  // with what came after, as soon as it exists
    return;
  }
  std::fill(parts_.begin(), parts_.end(), std::nullopt);  // all will be told again
  if (event.restored && event.resume > Round(0) && newest_ != event.resume.previous()) {
    return Name(event.resume.previous(), effects);
  }
  if (target_) {
    effects.push_back(AskForCheckpoint{*target_});  // what was asked or answered before may have been lost
  } else if (event.resume > Round(0) && triggers_.rounds > 0) {
    // Nobody has passed `resume` yet: no need to name one further ahead.
    const uint64_t multiple = (event.resume.value() + triggers_.rounds - 1) / triggers_.rounds;
    Name(Version(multiple * triggers_.rounds), effects);
  } else {
    NameNext(now, effects);
  }
}

void CheckpointCore::Step(const RoundSeen& event, absl::Time now, CheckpointEffects& effects) {
  if (!next_ || event.next <= *next_) return;
  next_ = event.next;
  NameNext(now, effects);
}

void CheckpointCore::Step(const PartWritten& event, absl::Time, CheckpointEffects& effects) {
  if (event.part.version != target_ || writing_manifest_) return;
  parts_[event.shard.value()] = event.part;
  FinishIfWhole(effects);
}

void CheckpointCore::FinishIfWhole(CheckpointEffects& effects) {
  WriteCheckpointManifest manifest;
  for (const std::optional<CheckpointPart>& part : parts_) {
    if (!part && !Mutated(Mutation::kManifestEarly)) return;
    if (part) manifest.parts.push_back(*part);
  }
  for (const CheckpointPart& part : manifest.parts) {
    const CheckpointPart& first = manifest.parts[0];
    if (part.completed_in == first.completed_in && part.participants == first.participants) continue;
    return GiveUp(absl::StrCat("version ", target_->value(), " was completed in generation ",
                               first.completed_in.value(), " on shard 0, but in generation ", part.completed_in.value(),
                               " on shard ", &part - manifest.parts.data()));
  }
  writing_manifest_ = true;
  effects.push_back(std::move(manifest));
}

void CheckpointCore::Step(const PartMissed& event, absl::Time now, CheckpointEffects& effects) {
  if (event.version != target_ || writing_manifest_) return;
  if (next_) next_ = std::max(*next_, event.next);
  if (event.error.empty()) ahead_ = std::min(ahead_ * 2, kFarthestAhead);
  GiveUp(event.error.empty() ? "" : absl::StrCat("shard ", event.shard.value(), ": ", event.error));
  NameNext(now, effects);
}

void CheckpointCore::Step(const CheckpointWanted&, absl::Time now, CheckpointEffects& effects) {
  wanted_ = true;
  NameNext(now, effects);
}

void CheckpointCore::Step(const ManifestWritten& event, absl::Time now, CheckpointEffects& effects) {
  if (event.version != target_ || !writing_manifest_) return;
  writing_manifest_ = false;
  if (std::exchange(given_up_, false)) {
    target_.reset();
  } else if (event.error.empty()) {
    target_.reset();
    wanted_ = false;
    newest_ = event.version;
    newest_at_ = now;
    if (!event.changing) effects.push_back(RemoveOldCheckpoints{event.version});
    ++finished_;
    trouble_.clear();
    ahead_ = std::max<uint64_t>(1, ahead_ / 2);
  } else {
    GiveUp(event.error);
  }
  NameNext(now, effects);
}

void CheckpointCore::Tick(absl::Time now, CheckpointEffects& effects) { NameNext(now, effects); }

}  // namespace lockstep::core
