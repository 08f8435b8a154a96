// Everything that processes say to each other, each message once, with a number and a text.
//
// Thread-safety: none.
#ifndef LOCKSTEP_TESTS_SIM_EXPLORATION_MESSAGES_H_
#define LOCKSTEP_TESTS_SIM_EXPLORATION_MESSAGES_H_

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "server/core/coordinator.h"
#include "server/core/shard.h"
#include "tests/sim/exploration/values.h"
#include "worker/client/session.h"

namespace lockstep::exploration {

inline constexpr uint32_t kShards = 2;
inline constexpr uint32_t kWorkers = 2;
inline constexpr uint32_t kLives = 2;  // of a worker's place

// Where a process runs: the shards, the coordinator, then each life of each worker.
using Place = uint8_t;
inline constexpr Place kCoordinator = kShards;
inline constexpr Place kPlaces = kShards + 1 + kLives * kWorkers;

// Lives of a place are numbered upwards.
constexpr Place PlaceOfWorker(Rank rank, uint32_t life) {
  return static_cast<Place>(kCoordinator + 1 + life * kWorkers + rank.value());
}
constexpr Incarnation WorkerIncarnation(Rank rank, uint32_t life) {
  return Incarnation(10 * (rank.value() + 1) + life + 1);
}
constexpr Incarnation ShardIncarnation(ShardIndex shard, uint32_t life) {
  return Incarnation(100 * (shard.value() + 1) + life + 1);
}
Place PlaceOf(const Member& worker);
std::string NameOf(Place place);

// A gradient, computed from the version `on`.
struct Contribution {
  core::ContributeBlock event;
  ValueId on = kNoValue;
};
// A block of parameters.
struct Parameters {
  client::ParametersArrived event;
  ValueId value = kNoValue;
};

using Content = std::variant<core::SealShard, core::InstallGeneration, core::AttachWorker, Contribution,
                             client::GenerationAnnounced, Parameters, client::CompleteArrived, core::WorkerJoins,
                             core::WorkerDefines, core::ShardArrives, core::ShardSealed, core::ShardInstalled>;

struct Message {
  Place to;
  Content content;
  std::string text;  // says all that the content does
};

using MessageId = uint16_t;

class Messages {
 public:
  MessageId Intern(Place to, Content content);
  // Stays valid.
  const Message& operator[](MessageId id) const { return messages_[id]; }
  size_t size() const { return messages_.size(); }

 private:
  std::unordered_map<std::string, MessageId> ids_;
  std::deque<Message> messages_;  // never moves what it holds: a step that reads one makes others
};

}  // namespace lockstep::exploration

#endif  // LOCKSTEP_TESTS_SIM_EXPLORATION_MESSAGES_H_
