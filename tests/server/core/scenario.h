// One coordinator and its shards, wired to each other without any delay: for whole scenarios as text.
//
// Every event that the test gives is a line; what the cores do about it follows, indented. Seals, installs and their
// answers are passed on at once, reductions end at once, and payloads are left out.
#ifndef LOCKSTEP_TESTS_SERVER_CORE_SCENARIO_H_
#define LOCKSTEP_TESTS_SERVER_CORE_SCENARIO_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/core/coordinator.h"
#include "server/core/shard.h"

namespace lockstep::core {

class Scenario {
 public:
  Scenario(uint32_t workers, uint32_t shards, uint32_t blocks_per_shard);

  // A line of prose.
  void Say(absl::string_view text);
  void Wait(absl::Duration time);

  void ArriveShard(uint32_t shard);
  // It comes back as a new process without its memory.
  void RestartShard(uint32_t shard);
  void Join(uint64_t incarnation, const std::string& name);
  void Define(uint64_t incarnation);
  void Beat(uint64_t incarnation);
  void Tick();
  void Leave(uint64_t incarnation);
  void Attach(Member who, uint64_t generation, uint64_t next);
  // All blocks of all shards, or those of one shard.
  void Contribute(Member who, uint64_t generation, uint64_t round, float weight);
  void ContributeTo(uint32_t shard, Member who, uint64_t generation, uint64_t round, float weight);
  // What the status would say: seats that are not active, and what shards wait for.
  void ShowStatus();

  const std::string& text() const { return text_; }

 private:
  template <class Event>
  void ToCoordinator(absl::string_view what, const Event& event);
  template <class Event>
  void ToShard(uint32_t shard, absl::string_view what, const Event& event);
  void Follow(const CoordinatorEffect& effect);
  void Follow(uint32_t shard, const ShardEffect& effect);
  void Drain();
  Incarnation IncarnationOf(uint32_t shard) const { return shards_[shard]->incarnation(); }

  const uint32_t blocks_;
  absl::Time now_ = absl::UnixEpoch();
  CoordinatorCore coordinator_;
  std::vector<std::unique_ptr<ShardCore>> shards_;
  std::deque<std::function<void()>> pending_;
  bool draining_ = false;
  std::string text_;
};

}  // namespace lockstep::core

#endif  // LOCKSTEP_TESTS_SERVER_CORE_SCENARIO_H_
