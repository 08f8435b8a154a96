#include "server/service/coordinator_driver.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/convert.h"
#include "common/wire/status.h"
#include "server/service/coordinator_messages.h"
#include "server/service/optimizer_config.h"
#include "server/service/round_policy_config.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {

void WorkStream::OnMessage(v1::WorkerMessage& message) {
  driver_->OnWorker(std::static_pointer_cast<WorkStream>(shared_from_this()), message);
}
void WorkStream::OnClosed() { driver_->OnWorkerClosed(*this); }

void ServeStream::OnMessage(v1::ShardMessage& message) {
  driver_->OnShard(std::static_pointer_cast<ServeStream>(shared_from_this()), message);
}
void ServeStream::OnClosed() { driver_->OnShardClosed(*this); }

namespace {

// The run that was saved goes on with what it was begun with.
RunSettings Continue(RunSettings settings, const std::optional<SavedRun>& saved) {
  if (!saved) return settings;
  settings.optimizer = saved->optimizer;
  settings.block_elements = saved->block_elements;
  settings.restore = saved->restore;
  return settings;
}

absl::Status Stopping() { return absl::UnavailableError("the coordinator is stopping: it is going to be back"); }

core::CoordinatorCore NewCore(core::CoordinatorOptions options, const std::optional<SavedRun>& saved, absl::Time now) {
  if (saved) return core::CoordinatorCore(std::move(options), saved->memory, now);
  return core::CoordinatorCore(std::move(options), now);
}

}  // namespace

CoordinatorDriver::CoordinatorDriver(core::CoordinatorOptions options, RunSettings settings,
                                     std::unique_ptr<CoordinatorStore> store, std::optional<SavedRun> saved)
    : settings_(Continue(std::move(settings), saved)),
      store_(std::move(store)),
      started_(MonotonicNow()),
      core_(NewCore(std::move(options), saved, started_)),
      shards_(core_.options().shards),
      reports_(core_.options().shards),
      checkpoints_(core_.options().shards) {
  if (settings_.files == nullptr) return;
  manifests_ = std::make_unique<ManifestWriter>(
      settings_.files, settings_.checkpoint_folder, ShardIndex(0), settings_.keep_checkpoints,
      [this](const storage::Manifest& manifest, const absl::Status& status) { OnManifestWritten(manifest, status); },
      settings_.fail_point);
}

CoordinatorDriver::~CoordinatorDriver() {
  if (manifests_ != nullptr) manifests_->Stop();  // before outbox_, which it adds to, and which adds to it
}

template <typename Event>
void CoordinatorDriver::StepLocked(const Event& event, Plan& plan) {
  core::CoordinatorEffects effects;
  core_.Step(event, MonotonicNow(), effects);
  PlanAllLocked(std::move(effects), plan);
}

void CoordinatorDriver::PlanAllLocked(core::CoordinatorEffects effects, Plan& plan) {
  for (core::CoordinatorEffect& effect : effects) {
    std::visit([&](auto& e) ABSL_NO_THREAD_SAFETY_ANALYSIS { PlanLocked(e, plan); }, effect);
  }
}

Outbox::Actions CoordinatorDriver::ReleaseLocked(Plan plan) {
  return outbox_.Add(std::move(plan.actions), plan.persists);
}

// ---- What outlives the process ----

void CoordinatorDriver::PlanLocked(const core::Persist&, Plan& plan) {
  if (store_ == nullptr) return;
  plan.persists = true;
  plan.actions.push_back([this, run = SavedRun{core_.memory(), settings_.optimizer, settings_.block_elements,
                                               settings_.restore}] { SaveUntilDone(run); });
}

void CoordinatorDriver::SaveUntilDone(const SavedRun& run) {
  constexpr absl::Duration kTryAgainAfter = absl::Milliseconds(200);
  {
    MutexLock lock(&mutex_);
    save_ = {.since = MonotonicNow(), .trouble = ""};
  }
  while (true) {
    const absl::Status status = store_->Save(run);
    {
      MutexLock lock(&mutex_);
      if (!status.ok() && save_->trouble.empty()) {
        spdlog::error("coordinator: the run waits for the disk: {}", std::string(status.message()));
      } else if (status.ok() && !save_->trouble.empty()) {
        spdlog::warn("coordinator: the disk takes data again");
      }
      save_->trouble = std::string(status.message());
      if (status.ok()) save_.reset();
    }
    if (status.ok() || outbox_.WaitOrStop(kTryAgainAfter)) return;
  }
}

void CoordinatorDriver::Tick() {
  Plan plan;
  Outbox::Actions now;
  {
    MutexLock lock(&mutex_);
    StepLocked(core::Tick{}, plan);
    if (manifests_ != nullptr && core_.state() == core::RunState::kTraining) {
      core::CheckpointEffects effects;
      checkpoints_.Tick(MonotonicNow(), effects);
      PlanAllLocked(effects, plan);
    }
    now = ReleaseLocked(std::move(plan));
  }
  Outbox::Perform(now);
}

// ---- Workers ----

void CoordinatorDriver::OnWorker(const std::shared_ptr<WorkStream>& stream, const v1::WorkerMessage& message) {
  Plan plan;
  Outbox::Actions now;
  {
    MutexLock lock(&mutex_);
    if (stopping_) {
      plan.actions.push_back([stream] { stream->Close(wire::ToGrpc(Stopping())); });
    } else if (message.has_join()) {
      JoinLocked(stream, message.join(), plan);
    } else if (!stream->joined_) {
      plan.actions.push_back([stream] {
        stream->Close({grpc::StatusCode::INVALID_ARGUMENT, "expected Join as the first message of a worker"});
      });
    } else if (message.has_define()) {
      DefineLocked(stream, message.define(), plan);
    } else if (message.has_leave()) {
      StepLocked(core::WorkerLeaves{stream->incarnation_}, plan);
    } else {
      StepLocked(core::WorkerBeats{stream->incarnation_}, plan);
    }
    now = ReleaseLocked(std::move(plan));
  }
  Outbox::Perform(now);
}

void CoordinatorDriver::JoinLocked(const std::shared_ptr<WorkStream>& stream, const v1::Join& join, Plan& plan) {
  if (stream->joined_ && stream->incarnation_ != Incarnation(join.incarnation())) {
    plan.actions.push_back([stream, joined = stream->incarnation_, incarnation = join.incarnation()] {
      stream->Close(
          {grpc::StatusCode::INVALID_ARGUMENT, absl::StrCat("this stream has joined as incarnation ", joined.value(),
                                                            "; expected no other Join on it, but incarnation ",
                                                            incarnation, " came: open another stream for that")});
    });
    return;
  }
  stream->joined_ = true;
  stream->incarnation_ = Incarnation(join.incarnation());
  stream->attempt_ = join.attempt();
  std::shared_ptr<WorkStream>& place = workers_[stream->incarnation_];
  if (place != nullptr && place->attempt_ > stream->attempt_) return;  // a newer stream of the same life came before it
  place = stream;
  core::WorkerJoins event{
      .incarnation = stream->incarnation_, .name = join.name(), .rank = {}, .run_id = join.run_id()};
  if (join.has_rank()) event.rank = Rank(join.rank());
  StepLocked(event, plan);
}

void CoordinatorDriver::DefineLocked(const std::shared_ptr<WorkStream>& stream, const v1::Define& define, Plan& plan) {
  absl::StatusOr<ModelSpec> model = lockstep::FromProto(define.model());
  if (model.ok()) return StepLocked(core::WorkerDefines{stream->incarnation_, *std::move(model)}, plan);
  plan.actions.push_back([stream, status = model.status()] { stream->Close(wire::ToGrpc(status)); });
}

void CoordinatorDriver::OnWorkerClosed(const WorkStream& stream) {
  MutexLock lock(&mutex_);
  const auto at = workers_.find(stream.incarnation_);
  if (stream.joined_ && at != workers_.end() && at->second.get() == &stream) workers_.erase(at);
}

void CoordinatorDriver::PlanLocked(const core::WelcomeWorker& effect, Plan& plan) {
  v1::WorkerCommand command;
  v1::Welcome* welcome = command.mutable_welcome();
  welcome->set_run_id(core_.options().run_id);
  welcome->set_rank(effect.rank.value());
  welcome->set_workers(core_.options().ranks());
  welcome->set_shards(core_.options().shards);
  welcome->set_lease_milliseconds(absl::ToInt64Milliseconds(core_.options().lease));
  const auto at = workers_.find(effect.incarnation);
  if (at != workers_.end()) plan.actions.push_back([stream = at->second, command] { stream->Send(command); });
}

void CoordinatorDriver::PlanLocked(const core::RefuseWorker& effect, Plan& plan) {
  spdlog::warn("refuses worker: {}", std::string(effect.status.message()));
  const auto at = workers_.find(effect.incarnation);
  if (at == workers_.end()) return;
  plan.actions.push_back([stream = at->second, status = effect.status] { stream->Close(wire::ToGrpc(status)); });
}

void CoordinatorDriver::PlanLocked(const core::AcknowledgeLeave& effect, Plan& plan) {
  const auto at = workers_.find(effect.incarnation);
  if (at == workers_.end()) return;
  v1::WorkerCommand command;
  command.mutable_left();
  plan.actions.push_back([stream = at->second, command] {
    stream->Send(command);
    stream->Close(grpc::Status::OK, /*flush=*/true);
  });
}

// So many that a journal takes about this much space, and that it is replayed in a second or two.
uint64_t CoordinatorDriver::CheckpointRoundsLocked() const {
  if (settings_.checkpoint_rounds > 0) return settings_.checkpoint_rounds;
  constexpr int64_t kJournalBytes = int64_t{256} << 20;
  constexpr int64_t kFewest = 8;
  constexpr int64_t kMost = 1000;
  const int64_t round_bytes = core_.model()->elements() * static_cast<int64_t>(sizeof(float)) / core_.options().shards;
  return static_cast<uint64_t>(std::clamp(kJournalBytes / std::max<int64_t>(round_bytes, 1), kFewest, kMost));
}

uint64_t CoordinatorDriver::CreditBytesLocked() const {
  // Nothing comes back before a contribution is whole, and the decision made: less would wait for itself.
  constexpr uint64_t kWhole = uint64_t{1} << 40;
  if (core_.options().policy.decides()) return kWhole;
  constexpr uint64_t kBlocksUnderWay = 2;
  return settings_.credit_bytes > 0 ? settings_.credit_bytes : kBlocksUnderWay * BlockElementsLocked() * sizeof(float);
}

uint64_t CoordinatorDriver::BlockElementsLocked() const {
  if (settings_.block_elements > 0 || !core_.model()) return settings_.block_elements;
  return static_cast<uint64_t>(DefaultBlockElements(core_.model()->elements(), core_.options().shards));
}

void CoordinatorDriver::PlanLocked(const core::AnnounceGeneration& effect, Plan& plan) {
  v1::WorkerCommand command;
  v1::Announce* announce = command.mutable_announce();
  announce->set_generation(effect.generation.value());
  announce->set_rolled_back_in(effect.rolled_back_in.value());
  announce->set_resume_round(effect.resume.value());
  ToProto(effect.members, announce->mutable_members());
  for (const core::ShardSeat& shard : core_.shards()) announce->add_shard_addresses(shard.address);
  announce->set_block_elements(BlockElementsLocked());
  announce->set_checksums(settings_.checksums);
  announce->set_connections(settings_.connections);
  announce->set_credit_bytes(CreditBytesLocked());
  for (const core::Exclusion& exclusion : effect.excluded) {
    v1::Exclusion* excluded = announce->add_excluded();
    excluded->set_rank(exclusion.rank.value());
    excluded->set_why(exclusion.why);
  }
  for (Incarnation incarnation : effect.to) {
    const auto at = workers_.find(incarnation);
    if (at != workers_.end()) plan.actions.push_back([stream = at->second, command] { stream->Send(command); });
  }
  BeginCheckpointsLocked(effect.resume, plan);
}

// ---- Shards ----

void CoordinatorDriver::OnShard(const std::shared_ptr<ServeStream>& stream, const v1::ShardMessage& message) {
  Plan plan;
  Outbox::Actions now;
  {
    MutexLock lock(&mutex_);
    if (stopping_) {
      plan.actions.push_back([stream] { stream->Close(wire::ToGrpc(Stopping())); });
    } else if (message.has_hello()) {
      HelloLocked(stream, message.hello(), plan);
    } else if (!stream->greeted_) {
      plan.actions.push_back([stream] {
        stream->Close({grpc::StatusCode::INVALID_ARGUMENT, "expected ShardHello as the first message of a shard"});
      });
    } else {
      ShardAnswerLocked(*stream, message, plan);
    }
    now = ReleaseLocked(std::move(plan));
  }
  Outbox::Perform(now);
}

void CoordinatorDriver::HelloLocked(const std::shared_ptr<ServeStream>& stream, const v1::ShardHello& hello,
                                    Plan& plan) {
  if (stream->greeted_ &&
      (stream->shard_ != ShardIndex(hello.shard_index()) || stream->incarnation_ != Incarnation(hello.incarnation()))) {
    plan.actions.push_back([stream, shard = stream->shard_, incarnation = stream->incarnation_, hello] {
      stream->Close({grpc::StatusCode::INVALID_ARGUMENT,
                     absl::StrCat("this stream is that of shard ", shard.value(), ", incarnation ", incarnation.value(),
                                  "; expected no other ShardHello on it, but shard ", hello.shard_index(),
                                  ", incarnation ", hello.incarnation(), " came: open another stream for that")});
    });
    return;
  }
  if (hello.shard_index() >= shards_.size()) {
    const size_t shards = shards_.size();
    plan.actions.push_back([stream, shards, index = hello.shard_index()] {
      stream->Close(
          {grpc::StatusCode::INVALID_ARGUMENT, absl::StrCat("there is no shard ", index, ": this run has shards 0 to ",
                                                            shards - 1, " (--shards ", shards, ")")});
    });
    return;
  }
  // Before it takes the place of the shard that is there: a stranger must not end that one.
  if (!hello.run_id().empty() && hello.run_id() != core_.options().run_id) {
    plan.actions.push_back([stream, run_id = core_.options().run_id, hello] {
      stream->Close({grpc::StatusCode::ABORTED, absl::StrCat("shard ", hello.shard_index(), " belongs to run ",
                                                             hello.run_id(), ", but this is run ", run_id,
                                                             ": start it with an empty --data-dir to join this one")});
    });
    return;
  }
  const std::shared_ptr<ServeStream> older = shards_[hello.shard_index()];
  constexpr absl::Duration kTenReports = absl::Seconds(2);
  const bool silent = MonotonicNow() - reports_[hello.shard_index()].at > kTenReports;
  if (older != nullptr && older->incarnation_ != Incarnation(hello.incarnation()) && !silent) {
    plan.actions.push_back([stream, index = hello.shard_index()] {
      stream->Close(
          {grpc::StatusCode::UNAVAILABLE, absl::StrCat("another process serves as shard ", index, " and is alive")});
    });
    return;
  }
  stream->greeted_ = true;
  stream->shard_ = ShardIndex(hello.shard_index());
  stream->incarnation_ = Incarnation(hello.incarnation());
  stream->attempt_ = hello.attempt();
  if (older != nullptr && older->incarnation_ == stream->incarnation_ && older->attempt_ > stream->attempt_) return;
  if (older != nullptr && older->incarnation_ != stream->incarnation_) {
    plan.actions.push_back([older] {
      older->Close({grpc::StatusCode::PERMISSION_DENIED, "fenced: a newer process serves as this shard"});
    });
  }
  shards_[hello.shard_index()] = stream;
  reports_[hello.shard_index()].at = MonotonicNow();
  reports_[hello.shard_index()].closed.reset();
  StepLocked(core::ShardArrives{.shard = stream->shard_,
                                .incarnation = stream->incarnation_,
                                .address = hello.address(),
                                .run_id = hello.run_id()},
             plan);
}

void CoordinatorDriver::ShardAnswerLocked(const ServeStream& stream, const v1::ShardMessage& message, Plan& plan) {
  const ShardLife from{stream.shard_, stream.incarnation_};
  if (message.has_sealed()) {
    StepLocked(ToEvent(from, message.sealed()), plan);
  } else if (message.has_installed()) {
    StepLocked(ToEvent(from, message.installed()), plan);
  } else if (message.has_whole()) {
    StepLocked(ToEvent(from, message.whole()), plan);
  } else if (message.has_waiting()) {
    StepLocked(ToEvent(from, message.waiting()), plan);
  } else if (message.has_restorable()) {
    StepLocked(ToEvent(from, message.restorable()), plan);
  } else if (message.has_report() && shards_[from.shard.value()].get() == &stream) {
    reports_[from.shard.value()] = {message.report(), MonotonicNow()};
    for (const v1::RoundRecord& record : message.report().rounds()) rounds_.Add(record);
    if (const auto refusal = RefusalIn(from, message.report()); refusal) StepLocked(*refusal, plan);
    StepCheckpointsLocked(core::RoundSeen{Round(message.report().next_round())}, plan);
  } else if (message.has_checkpoint()) {
    CheckpointAnswerLocked(from.shard, message.checkpoint(), plan);
  }
}

void CoordinatorDriver::OnShardClosed(const ServeStream& stream) {
  MutexLock lock(&mutex_);
  if (!stream.greeted_ || shards_[stream.shard_.value()].get() != &stream) return;
  shards_[stream.shard_.value()] = nullptr;
  const bool expected = EndedLocked() && !settings_.stay_when_done;  // when the run has ended, so do its shards
  if (!expected) reports_[stream.shard_.value()].closed = MonotonicNow();
}

void CoordinatorDriver::SendToShardLocked(ShardIndex shard, v1::ShardCommand command, Plan& plan) {
  if (shards_[shard.value()] == nullptr) return;
  plan.actions.push_back([stream = shards_[shard.value()], command = std::move(command)] { stream->Send(command); });
}

void CoordinatorDriver::PlanLocked(const core::WelcomeShard& effect, Plan& plan) {
  v1::ShardCommand command;
  command.mutable_welcome()->set_run_id(core_.options().run_id);
  SendToShardLocked(effect.shard, std::move(command), plan);
}

void CoordinatorDriver::PlanLocked(const core::RefuseShard& effect, Plan& plan) {
  spdlog::warn("refuses shard {}: {}", effect.shard.value(), std::string(effect.status.message()));
  const std::shared_ptr<ServeStream>& stream = shards_[effect.shard.value()];
  if (stream == nullptr || stream->incarnation_ != effect.incarnation) return;
  plan.actions.push_back([stream, status = effect.status] { stream->Close(wire::ToGrpc(status)); });
}

void CoordinatorDriver::PlanLocked(const core::SendSeal& effect, Plan& plan) {
  SendToShardLocked(effect.shard, ToCommand(effect), plan);
}

void CoordinatorDriver::PlanLocked(const core::SendInstall& effect, Plan& plan) {
  v1::RunDescription run;
  *run.mutable_model() = ToProto(*core_.model());
  *run.mutable_optimizer() = settings_.optimizer;
  *run.mutable_policy() = ToProto(core_.options().policy);
  run.set_shards(core_.options().shards);
  run.set_block_elements(BlockElementsLocked());
  run.set_workers(core_.options().ranks());
  run.set_connections(settings_.connections);
  run.set_credit_bytes(CreditBytesLocked());
  SendToShardLocked(effect.shard, ToCommand(effect, std::move(run), core_.options().nan_policy, settings_.restore),
                    plan);
}

void CoordinatorDriver::PlanLocked(const core::DecideRound& effect, Plan& plan) {
  if (effect.shard == ShardIndex(0)) {
    for (Rank rank : core_.MemberRanks()) {
      const auto& took_part = effect.participants;
      if (!std::binary_search(took_part.begin(), took_part.end(), rank)) rounds_.AddMissed(rank.value());
    }
  }
  SendToShardLocked(effect.shard, ToCommand(effect), plan);
}

void CoordinatorDriver::PlanLocked(const core::GiveVersion& effect, Plan& plan) {
  SendToShardLocked(effect.shard, ToCommand(effect), plan);
}

void CoordinatorDriver::PlanLocked(const core::SendFindRestorable& effect, Plan& plan) {
  SendToShardLocked(effect.shard, ToCommand(effect), plan);
}

// ---- Checkpoints ----

template <typename Event>
void CoordinatorDriver::StepCheckpointsLocked(const Event& event, Plan& plan) {
  if (manifests_ == nullptr) return;
  core::CheckpointEffects effects;
  checkpoints_.Step(event, MonotonicNow(), effects);
  PlanAllLocked(effects, plan);
}

void CoordinatorDriver::PlanAllLocked(const core::CheckpointEffects& effects, Plan& plan) {
  for (const core::CheckpointEffect& effect : effects) {
    if (const auto* remove = std::get_if<core::RemoveOldCheckpoints>(&effect)) {
      plan.actions.push_back(
          [this, run_id = core_.options().run_id, newest = remove->newest] { manifests_->RemoveOld(run_id, newest); });
    } else if (const auto* ask = std::get_if<core::AskForCheckpoint>(&effect)) {
      for (uint32_t s = 0; s < shards_.size(); ++s) SendToShardLocked(ShardIndex(s), ToCommand(*ask), plan);
    } else {
      WriteManifestLocked(std::get<core::WriteCheckpointManifest>(effect), plan);
    }
  }
}

// A generation begins. One that is announced again to a worker that has come back changes nothing.
void CoordinatorDriver::BeginCheckpointsLocked(Round resume, Plan& plan) {
  const Generation before = std::exchange(begun_, core_.generation());
  if (before == core_.generation()) return;
  checkpoints_.SetTriggers({.rounds = CheckpointRoundsLocked(), .interval = settings_.checkpoint_interval});
  StepCheckpointsLocked(core::GenerationBegins{.resume = resume, .restored = core_.RestoredSince(before)}, plan);
}

void CoordinatorDriver::CheckpointAnswerLocked(ShardIndex shard, const v1::CheckpointAnswer& answer, Plan& plan) {
  const Round next(answer.next_round());
  if (!answer.has_written()) {
    return StepCheckpointsLocked(
        core::PartMissed{.shard = shard, .version = Version(answer.missed()), .next = next, .error = answer.error()},
        plan);
  }
  StepCheckpointsLocked(core::RoundSeen{next}, plan);
  StepCheckpointsLocked(core::PartWritten{.shard = shard, .part = ToPart(answer.written())}, plan);
}

void CoordinatorDriver::WriteManifestLocked(const core::WriteCheckpointManifest& effect, Plan& plan) {
  const core::CheckpointPart& first = effect.parts[0];
  storage::Manifest manifest{.identity = {.run_id = core_.options().run_id,
                                          .version = first.version,
                                          .completed_in = first.completed_in,
                                          .participants = first.participants,
                                          .shards = core_.options().shards,
                                          .optimizer = FromProto(settings_.optimizer)->optimizer.kind},  // was checked
                             .model = *core_.model(),
                             .files = {}};
  for (const core::CheckpointPart& part : effect.parts) {
    manifest.files.push_back({.shard = ShardIndex(static_cast<uint32_t>(manifest.files.size())),
                              .name = part.file,
                              .bytes = part.bytes,
                              .head_xxh3_128 = part.head_xxh3_128});
  }
  plan.actions.push_back([this, manifest = std::move(manifest)] { manifests_->Write(manifest); });
}

void CoordinatorDriver::OnManifestWritten(const storage::Manifest& manifest, const absl::Status& status) {
  const Version version = manifest.identity.version;
  Plan plan;
  Outbox::Actions now;
  {
    MutexLock lock(&mutex_);
    const bool changing = core_.state() != core::RunState::kTraining || begun_ != core_.generation();
    core::CheckpointEffects effects;
    checkpoints_.Step(
        core::ManifestWritten{.version = version, .error = std::string(status.message()), .changing = changing},
        MonotonicNow(), effects);
    if (status.ok() && checkpoints_.newest() != version) {
      spdlog::warn("checkpoint: version {} was written, but the run has gone back meanwhile: it does not count",
                   version.value());
    } else if (status.ok()) {
      spdlog::info("checkpoint: version {} is durable on every shard; its manifest is in {}", version.value(),
                   manifests_->folder());
      v1::ShardCommand command;
      v1::CheckpointFinished* finished = command.mutable_checkpoint_finished();
      finished->set_version(version.value());
      finished->set_manifest(*storage::EncodeManifest(manifest));  // as was written
      constexpr uint32_t kAll = std::numeric_limits<uint32_t>::max();
      finished->set_keep(changing ? kAll : manifests_->keep());  // somebody may be restoring an older one
      for (uint32_t s = 1; s < shards_.size(); ++s) SendToShardLocked(ShardIndex(s), command, plan);
    } else {
      spdlog::error("checkpoint: version {} has no manifest, and so does not exist: {}", version.value(),
                    std::string(status.message()));
    }
    PlanAllLocked(effects, plan);  // later: a shard that hears of the next version may let go of parts without manifest
    now = ReleaseLocked(std::move(plan));
  }
  Outbox::Perform(now);
}

v1::CheckpointStatus CoordinatorDriver::DescribeCheckpointsLocked() const {
  v1::CheckpointStatus status;
  status.set_enabled(manifests_ != nullptr);
  if (manifests_ == nullptr) return status;
  status.set_folder(settings_.checkpoint_folder);
  status.set_has_newest(checkpoints_.newest().has_value());
  if (status.has_newest()) {
    status.set_newest_version(checkpoints_.newest()->value());
    status.set_newest_age_seconds(absl::ToDoubleSeconds(MonotonicNow() - checkpoints_.newest_at()));
  }
  status.set_finished(checkpoints_.finished());
  status.set_failures(checkpoints_.failures());
  status.set_trouble(checkpoints_.trouble());
  status.set_has_target(checkpoints_.target().has_value());
  if (status.has_target()) status.set_target_version(checkpoints_.target()->value());
  return status;
}

absl::StatusOr<v1::CheckpointStatus> CoordinatorDriver::TakeCheckpoint() {
  Plan plan;
  Outbox::Actions now;
  v1::CheckpointStatus before;
  {
    MutexLock lock(&mutex_);
    if (manifests_ == nullptr) {
      return absl::FailedPreconditionError(
          "this run has nothing to write a checkpoint to: start its shards with --data-dir, not with --durability "
          "memory");
    }
    if (core_.state() == core::RunState::kDone || core_.state() == core::RunState::kFailed) {
      return absl::FailedPreconditionError("the run is over: there is no more checkpoint of it");
    }
    if (begun_ == Generation(0)) {
      return absl::FailedPreconditionError("the run has not begun: there is nothing to write yet");
    }
    before = DescribeCheckpointsLocked();
    StepCheckpointsLocked(core::CheckpointWanted{}, plan);
    now = ReleaseLocked(std::move(plan));
  }
  Outbox::Perform(now);
  return before;
}

// ---- The end ----

void CoordinatorDriver::PlanLocked(const core::EndRun& effect, Plan& plan) {
  if (effect.failure.empty()) {
    spdlog::info("the run is done: every worker has left");
  } else {
    spdlog::error("the run has failed: {}", effect.failure);
  }
  if (effect.shards_stay) {
    spdlog::warn("the servers stay for {}, to be looked at: status, fingerprint, export",
                 absl::FormatDuration(core_.options().linger));
  }
  const bool stay = effect.failure.empty() && settings_.stay_when_done;
  for (const std::shared_ptr<ServeStream>& stream : shards_) {
    if (stream == nullptr || effect.shards_stay) continue;
    plan.actions.push_back([stream, command = ToCommand(effect), stay] {
      stream->Send(command);
      if (!stay) stream->Close(grpc::Status::OK, /*flush=*/true);
    });
  }
  if (effect.failure.empty()) return;
  for (const auto& [incarnation, stream] : workers_) {
    const absl::Status status(effect.code, absl::StrCat("the run has failed: ", effect.failure));
    plan.actions.push_back([stream = stream, status] { stream->Close(wire::ToGrpc(status)); });
  }
}

void CoordinatorDriver::PlanLocked(const core::Note& effect, Plan&) {
  spdlog::log(effect.loud ? spdlog::level::err : spdlog::level::info, "{}", effect.text);
}

bool CoordinatorDriver::ended() const {
  MutexLock lock(&mutex_);
  return EndedLocked();
}

void CoordinatorDriver::Stop() {
  std::vector<std::shared_ptr<WorkStream>> workers;
  std::vector<std::shared_ptr<ServeStream>> shards;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    for (const auto& [incarnation, stream] : workers_) workers.push_back(stream);
    for (const auto& stream : shards_) {
      if (stream != nullptr) shards.push_back(stream);
    }
  }
  for (const auto& stream : workers) stream->Close(wire::ToGrpc(Stopping()), /*flush=*/true);
  for (const auto& stream : shards) stream->Close(wire::ToGrpc(Stopping()), /*flush=*/true);
}

void CoordinatorDriver::WaitUntilDrained(absl::Duration patience) {
  MutexLock lock(&mutex_);
  const auto drained = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::all_of(shards_.begin(), shards_.end(), [](const auto& stream) { return stream == nullptr; }) &&
           workers_.empty();
  };
  mutex_.AwaitWithTimeout(absl::Condition(&drained), patience);
}

// ---- People ----

v1::Status CoordinatorDriver::Status(uint32_t most_rounds) const {
  MutexLock lock(&mutex_);
  const absl::Time now = MonotonicNow();
  v1::Status status = DescribeRun(core_, reports_, rounds_, most_rounds, now, save_);
  if (core_.model()) *status.mutable_model() = ToProto(*core_.model());
  status.set_block_elements(BlockElementsLocked());
  *status.mutable_optimizer() = settings_.optimizer;
  *status.mutable_policy() = ToProto(core_.options().policy);
  status.set_coordinator(core_.shards()[0].address);
  *status.mutable_checkpoints() = DescribeCheckpointsLocked();
  status.set_durability(settings_.durability);
  status.set_warning(settings_.warning);
  if (core_.rollback()) *status.mutable_rolled_back() = ToProto(*core_.rollback());
  status.set_uptime_seconds(absl::ToDoubleSeconds(now - started_));
  return status;
}

absl::StatusOr<std::string> CoordinatorDriver::AddressOf(ShardIndex shard) const {
  MutexLock lock(&mutex_);
  const std::vector<core::ShardSeat>& seats = core_.shards();
  if (shard.value() >= seats.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no shard ", shard.value(), ": this run has shards 0 to ", seats.size() - 1));
  }
  const core::ShardSeat& seat = seats[shard.value()];
  if (!seat.present) return absl::UnavailableError(absl::StrCat("shard ", shard.value(), " is not here; try again"));
  return seat.address;
}

absl::StatusOr<std::string> CoordinatorDriver::Evict(Rank rank) {
  Plan plan;
  Outbox::Actions now;
  std::string name;
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    core::CoordinatorEffects effects;
    status = core_.Step(core::EvictRank{rank}, MonotonicNow(), effects, name);
    PlanAllLocked(std::move(effects), plan);
    now = ReleaseLocked(std::move(plan));
  }
  Outbox::Perform(now);
  if (!status.ok()) return status;
  return name;
}

}  // namespace lockstep::service
