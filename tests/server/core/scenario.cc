#include "tests/server/core/scenario.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/server/core/effect_text.h"

namespace lockstep::core {
namespace {

std::string Name(Member who) {
  return absl::StrCat("rank ", who.rank.value(), " (incarnation ", who.incarnation.value(), ")");
}

}  // namespace

Scenario::Scenario(uint32_t workers, uint32_t shards, uint32_t blocks_per_shard)
    : blocks_(blocks_per_shard), coordinator_({.run_id = "r", .workers = workers, .shards = shards}, now_) {
  for (uint32_t s = 0; s < shards; ++s) shards_.push_back(std::make_unique<ShardCore>(Incarnation(1 + s)));
}

void Scenario::Say(absl::string_view text) { absl::StrAppend(&text_, "\n# ", text, "\n"); }

void Scenario::Wait(absl::Duration time) {
  now_ += time;
  absl::StrAppend(&text_, absl::FormatDuration(time), " pass\n");
}

template <class Event>
void Scenario::ToCoordinator(absl::string_view what, const Event& event) {
  absl::StrAppend(&text_, "coordinator: ", what, "\n");
  CoordinatorEffects effects;
  coordinator_.Step(event, now_, effects);
  for (const CoordinatorEffect& effect : effects) {
    absl::StrAppend(&text_, "    ", ToText(effect), "\n");
    Follow(effect);
  }
  Drain();
}

template <class Event>
void Scenario::ToShard(uint32_t shard, absl::string_view what, const Event& event) {
  absl::StrAppend(&text_, "shard ", shard, ": ", what, "\n");
  ShardEffects effects;
  shards_[shard]->Step(event, now_, effects);
  for (const ShardEffect& effect : effects) {
    absl::StrAppend(&text_, "    ", ToText(effect), "\n");
    Follow(shard, effect);
  }
  Drain();
}

// What one effect brings about is done after all effects of the step, in order.
void Scenario::Drain() {
  if (std::exchange(draining_, true)) return;
  while (!pending_.empty()) {
    auto next = std::move(pending_.front());
    pending_.pop_front();
    next();
  }
  draining_ = false;
}

void Scenario::Follow(const CoordinatorEffect& effect) {
  if (const auto* seal = std::get_if<SendSeal>(&effect)) {
    pending_.push_back([this, seal = *seal] {
      ToShard(seal.shard.value(), "told to seal", SealShard{seal.generation, seal.to});
    });
  } else if (const auto* install = std::get_if<SendInstall>(&effect)) {
    const InstallGeneration event{install->generation, install->to, install->resume, install->members, blocks_};
    pending_.push_back([this, shard = install->shard.value(), event] { ToShard(shard, "told to install", event); });
  }
}

void Scenario::Follow(uint32_t shard, const ShardEffect& effect) {
  const ShardIndex index(shard);
  if (const auto* reduce = std::get_if<ReduceBlock>(&effect)) {
    pending_.push_back([this, shard, slot = reduce->slot] {
      ToShard(shard, absl::StrCat("block ", slot.value(), " is reduced"), BlockReduced{slot});
    });
  } else if (const auto* sealed = std::get_if<AnswerSealed>(&effect)) {
    const ShardSealed answer{
        .shard = index, .incarnation = IncarnationOf(shard), .generation = sealed->generation, .has = sealed->has};
    pending_.push_back([this, shard, answer] { ToCoordinator(absl::StrCat("shard ", shard, " is sealed"), answer); });
  } else if (const auto* installed = std::get_if<AnswerInstalled>(&effect)) {
    const ShardInstalled answer{index, IncarnationOf(shard), installed->generation,
                                std::string(installed->status.message())};
    pending_.push_back(
        [this, shard, answer] { ToCoordinator(absl::StrCat("shard ", shard, " has installed"), answer); });
  }
}

void Scenario::ArriveShard(uint32_t shard) {
  ToCoordinator(absl::StrCat("shard ", shard, " arrives"),
                ShardArrives{ShardIndex(shard), IncarnationOf(shard), "host:1", ""});
}

void Scenario::RestartShard(uint32_t shard) {
  absl::StrAppend(&text_, "shard ", shard, " is restarted\n");
  shards_[shard] = std::make_unique<ShardCore>(Incarnation(IncarnationOf(shard).value() + 100));
}

void Scenario::Join(uint64_t incarnation, const std::string& name) {
  ToCoordinator(absl::StrCat("worker '", name, "', incarnation ", incarnation, ", joins"),
                WorkerJoins{Incarnation(incarnation), name, std::nullopt, ""});
}

void Scenario::Define(uint64_t incarnation) {
  ToCoordinator(absl::StrCat("incarnation ", incarnation, " defines the model"),
                WorkerDefines{Incarnation(incarnation), {.tensors = {{.name = "w", .shape = {4}}}}});
}

void Scenario::Beat(uint64_t incarnation) {
  ToCoordinator(absl::StrCat("heartbeat of incarnation ", incarnation), WorkerBeats{Incarnation(incarnation)});
}

void Scenario::Tick() { ToCoordinator("time passes", core::Tick{}); }

void Scenario::Leave(uint64_t incarnation) {
  ToCoordinator(absl::StrCat("incarnation ", incarnation, " leaves"), WorkerLeaves{Incarnation(incarnation)});
}

void Scenario::Attach(Member who, uint64_t generation, uint64_t next) {
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    ToShard(s, absl::StrCat(Name(who), " attaches in generation ", generation, " for round ", next),
            AttachWorker{who, Generation(generation), Round(next), 0, 1});
  }
}

void Scenario::Contribute(Member who, uint64_t generation, uint64_t round, float weight) {
  for (uint32_t s = 0; s < shards_.size(); ++s) ContributeTo(s, who, generation, round, weight);
}

void Scenario::ContributeTo(uint32_t shard, Member who, uint64_t generation, uint64_t round, float weight) {
  for (uint32_t b = 0; b < blocks_; ++b) {
    ToShard(shard, absl::StrCat(Name(who), " brings block ", b, " for round ", round, " in generation ", generation),
            ContributeBlock{who, Generation(generation), Round(round), Slot(b), weight});
  }
}

void Scenario::ShowStatus() {
  for (size_t r = 0; r < coordinator_.seats().size(); ++r) {
    const Seat& seat = coordinator_.seats()[r];
    if (seat.state == SeatState::kLost)
      absl::StrAppend(&text_, "status: worker '", seat.name, "', rank ", r, ", is lost\n");
  }
  for (size_t s = 0; s < shards_.size(); ++s) {
    for (const Missing& missing : shards_[s]->MissingBlocks()) {
      if (missing.blocks == 0) continue;
      absl::StrAppend(&text_, "status: shard ", s, ", round ", shards_[s]->next_round().value(), ": rank ",
                      missing.rank.value(), " lacks ", missing.blocks, " blocks\n");
    }
  }
}

}  // namespace lockstep::core
