// A simulated worker: the real SessionCore, a training loop and streams.
//
//   join -> define -> round 0 -> rounds 1 .. last -> leave
#ifndef LOCKSTEP_TESTS_SIM_WORKER_PROCESS_H_
#define LOCKSTEP_TESTS_SIM_WORKER_PROCESS_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tests/sim/directory.h"
#include "tests/sim/link.h"
#include "tests/sim/process.h"
#include "worker/client/session.h"

namespace lockstep::sim {

enum class WorkerKind {
  kTrains,
  kStranger,    // belongs to another run
  kWrongModel,  // has another model
};

class WorkerProcess : public Process {
 public:
  WorkerProcess(World& world, Directory& directory, Incarnation incarnation, std::string name, WorkerKind kind);

  void Start();

  // ---- Messages of the coordinator ----
  void OnWelcome(Rank rank);
  void OnRefused(const absl::Status& status);
  void OnAnnounced(const client::GenerationAnnounced& event);
  void OnLeft();
  void OnRunEnded();

  // ---- Messages of shards ----
  void OnParameters(Link& link, uint32_t connection, const client::ParametersArrived& event,
                    const std::vector<float>& values);
  void OnComplete(Link& link, const client::CompleteArrived& event);

  Incarnation incarnation() const { return incarnation_; }
  const std::string& name() const { return name_; }
  WorkerKind kind() const { return kind_; }
  bool stopped_once() const { return stopped_once_; }
  void NoteStopped() { stopped_once_ = true; }
  const std::optional<Version>& held() const { return held_; }
  // It has contributed and does not hold a version of that yet.
  bool waits() const { return session_ && waiting_; }
  // Every stream to every shard is there, and nothing is held up on it.
  bool connected() const;
  const client::SessionCore* session() const { return session_ ? &*session_ : nullptr; }

 private:
  using Model = std::vector<std::vector<std::vector<float>>>;  // [shard][slot][element]
  // A block that has just come.
  struct Arrived {
    client::ParametersArrived event;
    const std::vector<float>* values = nullptr;
    Link* link = nullptr;
  };
  struct Connection {
    Link* link = nullptr;
    uint64_t opened = 0;
  };

  void OpenCoordinatorLink();
  void Say(std::function<void(CoordinatorProcess&)> what);
  void Leave();
  void BeatLater();
  void OpenData(ShardIndex shard, uint32_t connection);
  void Listen(Link& link, ShardIndex shard, uint32_t connection);
  bool Current(const Link& link, ShardIndex shard, uint32_t connection) const;
  void StartSession();
  void Compute(Round round);
  void Exit();

  template <class Event>
  void Step(const Event& event);
  void Do(const client::SendAttach& effect);
  void Do(const client::SendContribution& effect);
  void Do(const client::StoreBlock& effect);
  void Do(const client::VersionHeld& effect);
  void Do(const client::SessionFailed& effect);

  bool IsForgotten(const client::SendContribution& effect);
  void SendBlock(Link& link, const client::SendContribution& effect, Slot slot);
  void SendEmpty(Link& link, const client::SendContribution& effect);
  void SendPerhapsTwice(Link& link, std::function<void()> deliver);
  void CheckHeld(const client::VersionHeld& effect);
  Member me() const { return {rank_, incarnation_}; }

  Directory& directory_;
  const Incarnation incarnation_;
  const std::string name_;
  const WorkerKind kind_;
  const bool slow_;

  Link* coordinator_ = nullptr;
  Rank rank_;
  bool leaving_ = false;
  bool stopped_once_ = false;
  std::optional<client::SessionCore> session_;
  std::vector<std::vector<Connection>> data_;  // [shard][connection]

  Model results_;  // the caller's memory, which blocks are written to as they come
  Model held_parameters_;
  Model gradient_;  // of the round that is contributed to
  float weight_ = 0;
  std::optional<Round> contributed_;  // the newest
  bool waiting_ = false;              // for a version, with that contribution
  std::optional<Version> held_;
  Generation held_in_;  // the generation in which it took what it computes from
  Arrived arrived_;
  uint32_t storing_ = 0;  // blocks that are being written to `results_`
  std::map<std::pair<ShardIndex, uint32_t>, std::pair<Round, Generation>> sent_;  // newest contribution per stream
};

}  // namespace lockstep::sim

#endif  // LOCKSTEP_TESTS_SIM_WORKER_PROCESS_H_
