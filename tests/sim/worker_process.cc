#include "tests/sim/worker_process.h"

#include <algorithm>
#include <bit>
#include <memory>

#include "absl/strings/str_cat.h"
#include "tests/sim/coordinator_process.h"
#include "tests/sim/payload.h"
#include "tests/sim/shard_process.h"

namespace lockstep::sim {

WorkerProcess::WorkerProcess(World& world, Directory& directory, Incarnation incarnation, std::string name,
                             WorkerKind kind)
    : Process(world, PlaceOfWorker(directory.workers.size())),
      directory_(directory),
      incarnation_(incarnation),
      name_(std::move(name)),
      kind_(kind),
      slow_(world.random().Chance(world.plan().slow_worker)),
      results_(world.plan().shards()) {
  for (uint32_t s = 0; s < results_.size(); ++s) {
    for (uint32_t elements : world.plan().elements[s]) results_[s].emplace_back(elements);
  }
  gradient_ = held_parameters_ = results_;
}

void WorkerProcess::Start() {
  OpenCoordinatorLink();
  BeatLater();
}

void WorkerProcess::Exit() {
  Kill();
  for (auto& link : directory_.links) {
    if (&link->process(End::kClient) == this) link->Close();
  }
}

// ---- The coordinator ----

void WorkerProcess::OpenCoordinatorLink() {
  const auto again = [this] {
    After(world().random().Skewed(absl::Milliseconds(1), absl::Milliseconds(300)), [this] { OpenCoordinatorLink(); });
  };
  CoordinatorProcess& coordinator = *directory_.coordinator;
  if (!coordinator.alive()) return again();
  Link& link = directory_.Open(world(), LinkKind::kWorkerToCoordinator, coordinator_ != nullptr, *this, coordinator);
  coordinator_ = &link;
  link.WhenClosed(End::kClient, again);
  const core::WorkerJoins join{.incarnation = incarnation_,
                               .name = name_,
                               .rank = std::nullopt,
                               .run_id = kind_ == WorkerKind::kStranger ? "another run" : ""};
  Say([&link, join](CoordinatorProcess& to) { to.OnJoin(link, join); });
}

void WorkerProcess::Say(std::function<void(CoordinatorProcess&)> what) {
  if (coordinator_ == nullptr) return;
  auto& to = static_cast<CoordinatorProcess&>(coordinator_->process(End::kServer));
  coordinator_->Send(End::kServer, [&to, what = std::move(what)] { what(to); });
}

void WorkerProcess::BeatLater() {
  After(world().plan().lease / 5, [this] {
    Say([beat = core::WorkerBeats{incarnation_}, now = clock()](CoordinatorProcess& to) { to.OnBeat(beat, now); });
    BeatLater();
  });
}

void WorkerProcess::OnWelcome(Rank rank) {
  world().Trace("worker $0 is rank $1", incarnation_, rank);
  world().Expect(!session_ || rank == rank_, "a worker's rank changes (G3)");
  rank_ = rank;
  core::WorkerDefines define{.incarnation = incarnation_, .model = ModelOf(world().plan())};
  if (kind_ == WorkerKind::kWrongModel) define.model.tensors.back().shape.push_back(2);
  Say([define](CoordinatorProcess& to) { to.OnDefine(define); });
  if (leaving_) Leave();
}

void WorkerProcess::Leave() {
  leaving_ = true;
  Say([leave = core::WorkerLeaves{incarnation_}](CoordinatorProcess& to) { to.OnLeave(leave); });
}

void WorkerProcess::OnRefused(const absl::Status& status) {
  world().Trace("worker $0 learns that it is refused, code $1", incarnation_, status.code());
  if (absl::IsResourceExhausted(status) && kind_ == WorkerKind::kTrains) return;  // tries again when the stream ends
  const bool deserved =
      kind_ != WorkerKind::kTrains || directory_.fenced.contains(incarnation_) || world().loss_reported();
  world().Expect(deserved, absl::StrCat("a worker that does nothing wrong is refused (G6): ", status.message()));
  if (directory_.fenced.contains(incarnation_) && stopped_once_) world().Count(Occurrence::kWakeFenced);
  Exit();
}

void WorkerProcess::OnLeft() {
  world().Trace("worker $0 has left", incarnation_);
  Exit();
}

void WorkerProcess::OnRunEnded() {
  world().Trace("worker $0 learns that the run has ended", incarnation_);
  Exit();
}

void WorkerProcess::OnAnnounced(const client::GenerationAnnounced& event) {
  world().Trace("worker $0 learns of generation $1, next is round $2", incarnation_, event.generation, event.resume);
  if (storing_ > 0 && event.generation > session_->generation()) world().Count(Occurrence::kStoreOvertaken);
  if (!session_) StartSession();
  Step(event);
}

// ---- Streams to shards ----

void WorkerProcess::StartSession() {
  client::SessionOptions options{.me = me(), .connections = world().plan().connections, .blocks_per_shard = {}};
  for (const auto& shard : world().plan().elements)
    options.blocks_per_shard.push_back(static_cast<uint32_t>(shard.size()));
  session_.emplace(std::move(options));
  data_.assign(world().plan().shards(), std::vector<Connection>(world().plan().connections));
  for (uint32_t s = 0; s < data_.size(); ++s) {
    for (uint32_t c = 0; c < data_[s].size(); ++c) OpenData(ShardIndex(s), c);
  }
  Compute(Round(0));
}

void WorkerProcess::OpenData(ShardIndex shard, uint32_t connection) {
  After(world().random().Skewed(absl::Milliseconds(1), absl::Milliseconds(100)), [this, shard, connection] {
    ShardProcess* server = directory_.shards[shard.value()];
    if (!server->alive()) return OpenData(shard, connection);
    Connection& mine = data_[shard.value()][connection];
    Link& link = directory_.Open(world(), LinkKind::kWorkerToShard, mine.opened++ > 0, *this, *server);
    mine.link = &link;
    Listen(link, shard, connection);
    Step(client::Connected{shard, connection});
  });
}

void WorkerProcess::Listen(Link& link, ShardIndex shard, uint32_t connection) {
  ShardProcess* server = directory_.shards[shard.value()];
  link.WhenClosed(End::kServer, [server, &link] { server->OnClosed(link); });
  link.WhenClosed(End::kClient, [this, shard, connection] {
    data_[shard.value()][connection].link = nullptr;
    Step(client::Disconnected{shard, connection});
    OpenData(shard, connection);
  });
}

bool WorkerProcess::Current(const Link& link, ShardIndex shard, uint32_t connection) const {
  return data_[shard.value()][connection].link == &link;
}

void WorkerProcess::OnParameters(Link& link, uint32_t connection, const client::ParametersArrived& event,
                                 const std::vector<float>& values) {
  if (!Current(link, event.shard, connection)) return;
  world().Trace("worker $0 gets block $1 of version $2 from shard $3", incarnation_, event.slot, event.version,
                event.shard);
  arrived_ = {event, &values, &link};
  const bool waits = waiting_ || session_->next() == Round(0);
  if (event.generation == session_->generation() && event.version >= session_->target()) {
    if (!waits) world().Count(Occurrence::kUnwanted);
  }
  Step(event);
}

void WorkerProcess::OnComplete(Link&, const client::CompleteArrived& event) {
  world().Trace("worker $0 hears shard $1 complete version $2", incarnation_, event.shard, event.version);
  Step(event);
}

bool WorkerProcess::connected() const {
  const auto open = [](const Connection& c) { return c.link != nullptr && c.link->open() && !c.link->stalled(); };
  return std::all_of(data_.begin(), data_.end(),
                     [&](const auto& shard) { return std::all_of(shard.begin(), shard.end(), open); });
}

// ---- The training loop ----

void WorkerProcess::Compute(Round round) {
  const absl::Duration most = round == Round(0) ? absl::Milliseconds(1) : world().plan().compute * (slow_ ? 10 : 1);
  After(world().random().Between(absl::Microseconds(10), most), [this, round] {
    if (round != (held_ ? held_->next() : Round(0))) return;  // a replacement has been given a version in the meantime
    weight_ = WeightOf(world().plan(), rank_, round);
    for (uint32_t s = 0; s < gradient_.size(); ++s) {
      for (uint32_t b = 0; b < gradient_[s].size(); ++b) {
        gradient_[s][b] = BlockOf(world().plan(), rank_, round, ShardIndex(s), Slot(b), held_parameters_[s][b]);
      }
    }
    world().Trace("worker $0, rank $1, contributes to round $2", incarnation_, rank_, round);
    contributed_ = round;
    waiting_ = true;
    Step(client::Contribute{round});
  });
}

template <class Event>
void WorkerProcess::Step(const Event& event) {
  client::SessionEffects effects;
  session_->Step(event, effects);
  for (const client::SessionEffect& effect : effects) {
    std::visit([this](const auto& e) { Do(e); }, effect);
  }
}

void WorkerProcess::Do(const client::SendAttach& effect) {
  Link* link = data_[effect.shard.value()][effect.connection].link;
  auto* server = static_cast<ShardProcess*>(&link->process(End::kServer));
  const core::AttachWorker attach{.who = me(),
                                  .generation = effect.generation,
                                  .next = effect.next,
                                  .connection = effect.connection,
                                  .connections = world().plan().connections};
  link->Send(End::kServer, [server, link, attach] { server->OnAttach(*link, attach); });
}

void WorkerProcess::Do(const client::SendContribution& effect) {
  if (IsForgotten(effect)) return;
  Link& link = *data_[effect.shard.value()][effect.connection].link;
  const auto blocks = static_cast<uint32_t>(gradient_[effect.shard.value()].size());
  const bool payload = blocks > 0 && BringsPayload(world().plan(), rank_, effect.round);
  if (!payload && effect.connection == 0) SendEmpty(link, effect);
  for (uint32_t b = effect.connection; payload && b < blocks; b += world().plan().connections) {
    SendBlock(link, effect, Slot(b));
  }
}

// Whether a planted bug keeps this contribution from being sent; counts those that are sent again.
bool WorkerProcess::IsForgotten(const client::SendContribution& effect) {
  auto [at, is_first] = sent_.try_emplace({effect.shard, effect.connection}, effect.round, effect.generation);
  const auto [round, generation] = std::exchange(at->second, {effect.round, effect.generation});
  if (is_first || round != effect.round) return false;
  if (generation != effect.generation) world().Count(Occurrence::kResent);
  return world().has(PlantedBug::kForgetsToResend);
}

void WorkerProcess::SendBlock(Link& link, const client::SendContribution& effect, Slot slot) {
  auto* server = static_cast<ShardProcess*>(&link.process(End::kServer));
  if (weight_ == 0) world().Count(Occurrence::kWeightZeroPayload);
  const core::ContributeBlock event{
      .who = me(), .generation = effect.generation, .round = effect.round, .slot = slot, .weight = weight_};
  SendPerhapsTwice(link, [server, &link, event, payload = gradient_[effect.shard.value()][slot.value()],
                          computed_in = held_in_] { server->OnBlock(link, event, payload, computed_in); });
}

void WorkerProcess::SendEmpty(Link& link, const client::SendContribution& effect) {
  auto* server = static_cast<ShardProcess*>(&link.process(End::kServer));
  world().Count(Occurrence::kEmptyContribution);
  const core::ContributeEmpty event{
      .who = me(), .generation = effect.generation, .round = effect.round, .weight = weight_};
  SendPerhapsTwice(link, [server, &link, event] { server->OnEmpty(link, event); });
}

void WorkerProcess::SendPerhapsTwice(Link& link, std::function<void()> deliver) {
  link.Send(End::kServer, deliver);
  if (!world().random().Chance(world().plan().faults.duplicate)) return;
  After(world().random().Skewed(absl::ZeroDuration(), absl::Milliseconds(500)), [this, &link, deliver] {
    if (!link.open()) return;
    world().Count(Occurrence::kDuplicateSent);
    link.Send(End::kServer, deliver);
  });
}

void WorkerProcess::Do(const client::StoreBlock&) {
  const client::ParametersArrived event = arrived_.event;
  ++storing_;
  auto store = [this, event, values = *arrived_.values] {
    --storing_;
    results_[event.shard.value()][event.slot.value()] = values;
    Step(client::BlockStored{event.shard, event.generation, event.version, event.slot});
  };
  if (!world().random().Chance(world().plan().faults.slow_store)) return store();
  // Holds the stream, but not what comes on others.
  const absl::Duration time = world().random().Skewed(absl::Microseconds(10), absl::Milliseconds(200));
  arrived_.link->Hold(End::kClient, Lasts(time));
  After(time, std::move(store));
}

void WorkerProcess::Do(const client::VersionHeld& effect) {
  world().Trace("worker $0, rank $1, holds version $2, rolled back: $3", incarnation_, rank_, effect.version,
                effect.rolled_back);
  CheckHeld(effect);
  if (!held_ && effect.version > Version(0)) world().Count(Occurrence::kFetchByReplacement);
  held_ = effect.version;
  waiting_ = contributed_ && *contributed_ > effect.version && !effect.rolled_back && waiting_;
  if (!effect.rolled_back || !world().has(PlantedBug::kContributesAbandoned)) {
    held_parameters_ = results_;
    held_in_ = session_->generation();
  }
  world().NoteHeld(session_->generation(), effect.version);
  const bool leaves = world().now() < world().plan().faults_end && effect.version > Version(0) &&
                      world().random().Chance(world().plan().faults.leave_early);
  if (effect.version < world().plan().last_version()) {
    if (!leaves) return Compute(effect.version.next());
    world().Count(Occurrence::kLeftEarly);
  }
  After(world().random().Skewed(absl::Microseconds(10), absl::Seconds(1)), [this] { Leave(); });
}

void WorkerProcess::CheckHeld(const client::VersionHeld& effect) {
  const uint64_t version = effect.version.value();
  const Generation generation = session_->generation();
  const bool jumps = held_ && !effect.rolled_back && effect.version > held_->next();
  world().Expect(
      !held_ || effect.rolled_back || effect.version == held_->next() || (jumps && world().plan().policy.decides()),
      absl::StrCat("version ", version, " does not follow the one held (G1)"));
  if (jumps) world().Count(Occurrence::kJump);
  const std::vector<Rank>& made_it = effect.participants;
  if (effect.rolled_back) {
    world().Count(Occurrence::kWorkerRolledBack);
    world().Expect(world().oracle().began() > Generation(0), "a worker is told that the run has gone back (G5)");
  }
  const bool counted = !effect.rolled_back && contributed_ == effect.version &&
                       std::find(made_it.begin(), made_it.end(), rank_) != made_it.end();
  const bool unsettled =
      !effect.rolled_back && contributed_ && *contributed_ > Round(0) && (!held_ || *contributed_ > *held_);
  if (unsettled && !counted) world().Count(Occurrence::kNotCounted);
  world().Expect(effect.counted == counted, "a worker is told wrong whether its contribution counted (G3)");
  if (effect.version > world().plan().last_version()) return world().Violate("a version beyond the last is held (G2)");
  world().Expect(effect.participants == world().oracle().Participants(generation, effect.version),
                 absl::StrCat("a worker is told the wrong participants of version ", version, " (G2, G3)"));
  for (uint32_t s = 0; s < results_.size(); ++s) {
    for (uint32_t b = 0; b < results_[s].size(); ++b) {
      const auto& expected = world().oracle().Parameters(generation, effect.version, ShardIndex(s), Slot(b));
      const bool same =
          std::equal(expected.begin(), expected.end(), results_[s][b].begin(), results_[s][b].end(),
                     [](float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); });
      world().Expect(same, absl::StrCat("rank ", rank_.value(), " holds wrong bits of version ", version, ", shard ", s,
                                        ", block ", b, " (G1, G3, G4)"));
    }
  }
}

void WorkerProcess::Do(const client::SessionFailed& effect) {
  world().Trace("worker $0: the session fails with code $1", incarnation_, effect.status.code());
  world().Remark(effect.status.message());
  world().Violate(absl::StrCat("a session fails (G6): ", effect.status.message()));
  Exit();
}

}  // namespace lockstep::sim
