#include "server/service/shard_driver.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/convert.h"
#include "common/wire/status.h"
#include "server/service/restore.h"
#include "server/service/round_policy_config.h"
#include "server/service/shard_report.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {
namespace {

constexpr uint32_t kMaxConnections = 64;

absl::Status CheckMembers(const v1::Install& install, const ShardModel& model) {
  int64_t before = -1;  // rank
  for (const v1::Member& member : install.members()) {
    if (member.rank() >= model.ranks || member.rank() <= before) {
      return absl::InvalidArgumentError(absl::StrCat("expected members with ranks below ", model.ranks,
                                                     ", ascending, but rank ", member.rank(), " came after ", before));
    }
    before = member.rank();
  }
  return absl::OkStatus();
}

void LogModel(ShardIndex shard, const ShardModel& model) {
  spdlog::info("shard {}: {} blocks, {} parameter bytes; needs at most {}", shard.value(), model.store.blocks(),
               model.store.parameter_bytes(), Arithmetic(model.memory));
}

}  // namespace

ShardDriver::ShardDriver(ShardOptions options, std::function<void(v1::ShardMessage)> answer,
                         std::optional<RecoveredShard> recovered)
    : options_(std::move(options)),
      core_(NewCore()),
      journal_(durability() != core::Durability::kJournal
                   ? nullptr
                   : std::make_unique<JournalThread>(options_.files, options_.folders.journal(), options_.journal,
                                                     static_cast<JournalThread::Events*>(this))),
      checkpointer_(options_.files == nullptr ? nullptr
                                              : std::make_unique<Checkpointer>(options_.files, options_.folders,
                                                                               static_cast<Checkpointer::Events*>(this),
                                                                               options_.journal.fail_point)),
      planner_(options_.shard, journal_.get()),
      performer_(options_.shard, options_.checksums, std::move(answer), this) {
  MutexLock lock(&mutex_);
  planner_.SetDamage(options_.damage);
  if (!recovered) return;
  run_id_ = recovered->run_id;
  base_ = recovered->base;
  if (base_ && !base_->compacted) part_ = base_;
  replayed_ = recovered->replayed;
  model_ = std::move(recovered->model);
  planner_.Adopt(model_.get());
  LogModel(options_.shard, *model_);
  core_ = core::ShardCore(options_.self, recovered->memory, model_->store.blocks());
  seen_round_ = core_.next_round();
  journal_->Adopt(std::move(recovered->journal));
}

std::string ShardDriver::run_id() const {
  MutexLock lock(&mutex_);
  return run_id_;
}

std::string ShardDriver::bound_run_id() const {
  MutexLock lock(&mutex_);
  return model_ == nullptr ? "" : run_id_;
}

void ShardDriver::Stop() {
  MutexLock lock(&mutex_);
  stopping_ = true;
}

bool ShardDriver::Quiet() const {
  MutexLock lock(&mutex_);
  return !core_.collecting() && !core_.journaling();
}

absl::Status ShardDriver::CheckOpenLocked() const {
  if (!stopping_ || core_.collecting() || core_.journaling()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("shard ", options_.shard.value(), " is stopping"));
}

void ShardDriver::LetGo() {
  std::vector<std::shared_ptr<ExchangeStream>> streams;
  {
    MutexLock lock(&mutex_);
    streams = planner_.connections().All();
  }
  const absl::Status status = absl::UnavailableError(absl::StrCat("shard ", options_.shard.value(), " is stopping"));
  for (const auto& stream : streams) stream->Close(wire::ToGrpc(status), /*flush=*/true);
}

void ShardDriver::StopWriting() {
  if (checkpointer_ != nullptr) checkpointer_->Stop();
  if (journal_ != nullptr) journal_->Stop();
}

template <typename Event>
void ShardDriver::StepLocked(const Event& event, const Origin& origin, WorkList& work) {
  core::ShardEffects effects;
  core_.Step(event, MonotonicNow(), effects);
  planner_.Plan(effects, origin, work);
  for (const core::ShardEffect& effect : effects) {
    if (const auto* commit = std::get_if<core::CommitVersion>(&effect)) MaybeCheckpointLocked(commit->version, work);
    if (std::holds_alternative<core::DropContributions>(effect)) not_finite_.clear();
  }
  if (core_.next_round() != seen_round_) NoteCompletedLocked(work);
}

void ShardDriver::NoteCompletedLocked(WorkList& work) {
  const bool completed = core_.next_round() > seen_round_;
  seen_round_ = core_.next_round();
  if (!completed) return;
  completed_.push_back(core_.last_round());
  constexpr size_t kMostRecords = 1024;
  if (completed_.size() > kMostRecords) completed_.erase(completed_.begin());
  readers_.Completed(core_, *model_, work);
}

// ---- Checkpoints ----

void ShardDriver::TakeCheckpoint(const v1::TakeCheckpoint& command) {
  const Version version(command.version());
  WorkList work;
  {
    MutexLock lock(&mutex_);
    const uint64_t committed = core_.next_round().value() - (core_.tentative() ? 1 : 0);  // all below are
    if (writing_ == version) {
      // The answer comes when it is written.
    } else if (part_ && part_->identity.version == version) {
      AnswerCoordinator answer;
      *answer.message.mutable_checkpoint()->mutable_written() = ToProto(*part_);
      work.push_back(std::move(answer));
    } else if (checkpointer_ == nullptr || model_ == nullptr || version.value() < committed) {
      MissCheckpointLocked(version, "", work);
    } else {
      named_ = version;
    }
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::MissCheckpointLocked(Version version, absl::string_view error, WorkList& work) {
  AnswerCoordinator answer;
  v1::CheckpointAnswer* missed = answer.message.mutable_checkpoint();
  missed->set_missed(version.value());
  missed->set_next_round(core_.next_round().value());
  missed->set_error(std::string(error));
  work.push_back(std::move(answer));
}

// A committed version is never undone, and nothing of the next one is closed yet.
void ShardDriver::MaybeCheckpointLocked(Version version, WorkList& work) {
  if (checkpointer_ != nullptr) checkpointer_->OnRound();
  if (!named_ || version < *named_) return;
  const Version named = *std::exchange(named_, std::nullopt);
  if (version > named || !checkpointer_->idle()) return MissCheckpointLocked(named, "", work);
  writing_ = version;
  checkpointer_->Start(RequestLocked(version, /*compacts=*/false));
}

void ShardDriver::MaybeCompactLocked() {
  constexpr uint64_t kLong = 8;
  if (core_.tentative()) return;  // the install was not for us: nothing is decided yet
  if (std::exchange(replayed_, 0) < kLong || checkpointer_ == nullptr || !checkpointer_->idle()) return;
  if (core_.next_round() == Round(0)) return;  // all of it was undone
  const Version newest = core_.next_round().previous();
  if (base_ && base_->identity.version >= newest) return;
  checkpointer_->Start(RequestLocked(newest, /*compacts=*/true));
}

Checkpointer::Request ShardDriver::RequestLocked(Version version, bool compacts) {
  Checkpointer::Request request{.identity = {.run_id = run_id_,
                                             .version = version,
                                             .completed_in = core_.completed_in(),
                                             .participants = core_.participants(),
                                             .shards = model_->layout.shards(),
                                             .optimizer = model_->optimizer},
                                .model = model_.get(),
                                .blocks = {},
                                .compacts = compacts};
  for (uint32_t s = 0; s < model_->store.blocks(); ++s) request.blocks.push_back(model_->store.Snapshot(Slot(s)));
  return request;
}

void ShardDriver::OnBaseWritten(const ShardBase& base) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    base_ = base;
    if (journal_ != nullptr) journal_->Forget(base.identity.version);
    if (base.compacted) return;
    part_ = base;
    writing_.reset();
    AnswerCoordinator answer;
    answer.message.mutable_checkpoint()->set_next_round(core_.next_round().value());
    *answer.message.mutable_checkpoint()->mutable_written() = ToProto(base);
    work.push_back(std::move(answer));
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::OnCheckpointFailed(Version version, const absl::Status& why) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    writing_.reset();
    MissCheckpointLocked(version, why.message(), work);
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::KeepManifest(const v1::CheckpointFinished& finished) {
  if (checkpointer_ == nullptr) return;
  checkpointer_->Keep(Version(finished.version()), finished.manifest(), options_.shard, finished.keep());
}

// ---- The coordinator ----

void ShardDriver::Welcome(const std::string& run_id) {
  MutexLock lock(&mutex_);
  if (run_id_ != run_id && model_ == nullptr)
    core_ = NewCore();  // what another run has sealed does not count in this one
  run_id_ = run_id;
}

void ShardDriver::Seal(const v1::Seal& seal) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    if (restoring_) {
      deferred_seal_ = seal;
      return;
    }
    StepLocked(core::SealShard{Generation(seal.generation()), Incarnation(seal.incarnation())}, {}, work);
  }
  performer_.Perform(std::move(work));
}

absl::Status ShardDriver::Prepare(const v1::Install& install) {
  {
    MutexLock lock(&mutex_);
    if (model_ != nullptr) return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<ShardModel>> model =
      ShardModel::Create(install.run(), options_.shard, options_.machine_bytes, /*durable=*/options_.files != nullptr);
  if (!model.ok()) return model.status();
  MutexLock lock(&mutex_);
  if (model_ != nullptr) return absl::OkStatus();
  model_ = *std::move(model);
  std::optional<storage::JournalIdentity> begin;
  if (journal_ != nullptr) begin = IdentityOf(run_id_, install.run(), *model_);
  planner_.Adopt(model_.get(), std::move(begin));
  LogModel(options_.shard, *model_);
  return absl::OkStatus();
}

void ShardDriver::RefuseInstallLocked(const v1::Install& install, absl::Status why, WorkList& work) {
  planner_.Plan({core::AnswerInstalled{Generation(install.generation()), std::move(why)}}, {}, work);
}

void ShardDriver::InstallLocked(const v1::Install& install, WorkList& work) {
  planner_.CheckFinite(install.nan_policy() != v1::NAN_ALLOW);
  StepLocked(core::InstallGeneration{.generation = Generation(install.generation()),
                                     .to = Incarnation(install.incarnation()),
                                     .resume = Round(install.resume_round()),
                                     .members = lockstep::FromProto(install.members()),
                                     .blocks = model_->store.blocks(),
                                     .excluded = RanksFromProto(install.excluded()),
                                     .decided = FromProto(install.run().policy())->decides()},  // was checked
             {}, work);
  MaybeCompactLocked();
}

void ShardDriver::Install(const v1::Install& install) {
  WorkList work;
  absl::Status status = Prepare(install);
  {
    MutexLock lock(&mutex_);
    if (restoring_) return;  // for a generation that has been overtaken, or this very one
    if (status.ok()) status = CheckMembers(install, *model_);
    const absl::StatusOr<core::RoundPolicy> policy = FromProto(install.run().policy());
    if (status.ok()) status = policy.status();
    if (!status.ok()) {
      RefuseInstallLocked(install, std::move(status), work);
    } else if (install.has_restore()) {
      StartRestoringLocked(install, work);
    } else {
      InstallLocked(install, work);
    }
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::Close(const v1::Close& close) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    StepLocked(
        core::CloseRound{Generation(close.generation()), Round(close.round()), RanksFromProto(close.participants())},
        {}, work);
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::Give(const v1::Give& give) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    StepLocked(core::ServeRank{Generation(give.generation()), Rank(give.rank()), Version(give.version())}, {}, work);
  }
  performer_.Perform(std::move(work));
}

// ---- Restoring ----

void ShardDriver::StartRestoringLocked(const v1::Install& install, WorkList& work) {
  const Generation generation(install.generation());
  const bool awaited = Incarnation(install.incarnation()) == options_.self && generation > core_.generation() &&
                       generation == core_.sealed();
  if (!awaited) return;
  if (checkpointer_ == nullptr) {
    return RefuseInstallLocked(
        install, absl::FailedPreconditionError("it has no --data-dir, and so nothing can be restored"), work);
  }
  restoring_ = generation;
  named_.reset();
  checkpointer_->Run([this, install] { RestoreAndInstall(install); });
}

// The core was sealed and quiet when this was started, and answers to nobody until it has ended. Then the shard is as
// one that has just come back with that version.
void ShardDriver::RestoreAndInstall(const v1::Install& install) {
  const std::string run = run_id();
  const BlockAccess access{.store =
                               [this](Slot slot, const storage::BlockContents& contents) {
                                 MutexLock lock(&mutex_);
                                 model_->store.Restore(slot, contents.parameters, contents.state);
                               },
                           .snapshot =
                               [this] {
                                 MutexLock lock(&mutex_);
                                 std::vector<storage::BlockSnapshot> blocks;
                                 for (uint32_t s = 0; s < model_->store.blocks(); ++s)
                                   blocks.push_back(model_->store.Snapshot(Slot(s)));
                                 return blocks;
                               }};
  const absl::StatusOr<ShardBase> base =
      Restore(*options_.files, options_.folders, run, install.restore(), *model_, access);
  WorkList work;
  {
    MutexLock lock(&mutex_);
    restoring_.reset();
    writing_.reset();
    const std::optional<v1::Seal> seal = std::exchange(deferred_seal_, std::nullopt);
    if (base.ok()) {
      const storage::CheckpointIdentity& identity = base->identity;
      spdlog::warn("shard {}: has restored version {} and gone on from there", options_.shard.value(),
                   identity.version.value());
      base_ = *base;
      part_ = *base;
      core_ = core::ShardCore(
          options_.self,
          core::ShardMemory(identity.version,
                            {.completed_in = identity.completed_in, .participants = identity.participants},
                            core_.generation()),
          model_->store.blocks(), durability());
      if (journal_ != nullptr) planner_.Adopt(model_.get(), IdentityOf(run_id_, install.run(), *model_));
    } else {
      spdlog::error("shard {}: cannot restore: {}", options_.shard.value(), std::string(base.status().message()));
      core_ = NewCore();
      RefuseInstallLocked(install, base.status(), work);
    }
    seen_round_ = core_.next_round();
    if (seal) {
      StepLocked(core::SealShard{Generation(seal->generation()), Incarnation(seal->incarnation())}, {}, work);
    } else if (base.ok()) {
      core::ShardEffects answered;  // it has been, before this began
      core_.Step(core::SealShard{Generation(install.generation()), options_.self}, MonotonicNow(), answered);
      InstallLocked(install, work);
    }
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::FindRestorable(const v1::FindRestorable& find) {
  if (Incarnation(find.incarnation()) != options_.self) return;
  auto search = [this, generation = find.generation()] {
    AnswerCoordinator answer;
    v1::Restorable* restorable = answer.message.mutable_restorable();
    restorable->set_generation(generation);
    absl::StatusOr<storage::CheckpointsFound> found = storage::CheckpointsFound();
    if (options_.files != nullptr) {
      found = storage::FindCheckpoints(
          *options_.files, options_.folders.checkpoints(),
          {.run_id = run_id(), .own = options_.shard, .depth = storage::CheckDepth::kAllBytes});
    }
    if (!found.ok()) {
      restorable->add_damaged(std::string(found.status().message()));
    } else {
      for (const storage::Manifest& manifest : found->whole) {
        v1::Restorable::Checkpoint* checkpoint = restorable->add_checkpoints();
        checkpoint->set_version(manifest.identity.version.value());
        checkpoint->set_completed_in(manifest.identity.completed_in.value());
      }
      for (const absl::Status& damage : found->damaged) restorable->add_damaged(std::string(damage.message()));
    }
    WorkList work;
    work.push_back(std::move(answer));
    performer_.Perform(std::move(work));
  };
  if (checkpointer_ == nullptr) return search();
  checkpointer_->Run(std::move(search));
}

v1::ShardReport ShardDriver::Report() {
  MutexLock lock(&mutex_);
  return ReportLocked();
}

v1::ShardReport ShardDriver::ReportLocked() {
  v1::ShardReport report = DescribeRound(core_, MonotonicNow());
  report.set_parameter_bytes(model_ == nullptr ? 0 : model_->store.parameter_bytes());
  report.set_contribution_bytes(planner_.contributions().kept_bytes());
  if (model_ != nullptr) {
    report.set_memory_bound_bytes(model_->memory.total());
    report.set_memory_bound(Arithmetic(model_->memory));
  }
  if (core_.journaling() && journal_ != nullptr) {
    report.set_disk_seconds(absl::ToDoubleSeconds(MonotonicNow() - core_.journaling_since()));
    report.set_disk_trouble(std::string(journal_->state().trouble.message()));
  }
  for (const core::RoundTimes& times : completed_) *report.add_rounds() = ToProto(times);
  completed_.clear();
  for (const core::FoundNotFinite& found : not_finite_) *report.add_not_finite() = FindingToProto(found);
  return report;
}

// ---- Workers ----

void ShardDriver::Reject(const std::shared_ptr<ExchangeStream>& stream, absl::Status status) const {
  WorkList work;
  work.push_back(EndStream{stream, std::move(status)});
  performer_.Perform(std::move(work));
}

void ShardDriver::OnFrame(const std::shared_ptr<ExchangeStream>& stream, grpc::ByteBuffer& message) {
  wire::Frame frame;
  absl::Status status = wire::Decode(message, frame);
  message.Clear();
  if (!status.ok()) return stream->Close(wire::ToGrpc(status));
  switch (frame.header.kind()) {
    case v1::FrameHeader::ATTACH:
      return OnAttach(stream, frame.header);
    case v1::FrameHeader::CONTRIBUTION:
      return OnContribution(stream, frame);
    case v1::FrameHeader::EMPTY_CONTRIBUTION:
      return OnEmptyContribution(stream, frame.header);
    default:
      stream->Close(
          {grpc::StatusCode::INVALID_ARGUMENT,
           absl::StrCat("expected ATTACH, CONTRIBUTION or EMPTY_CONTRIBUTION from a worker, but ",
                        v1::FrameHeader::Kind_Name(frame.header.kind()), " (kind ", frame.header.kind(), ") came")});
  }
}

absl::Status ShardDriver::CheckAttachLocked(const v1::FrameHeader& header) const {
  if (absl::Status status = CheckOpenLocked(); !status.ok()) return status;
  if (run_id_.empty()) return absl::UnavailableError("this shard has not joined a run yet; try again");
  if (header.run_id() != run_id_) {
    return absl::AbortedError(
        absl::StrCat("this shard serves run '", run_id_, "', but the worker belongs to run '", header.run_id(), "'"));
  }
  if (header.connections() == 0 || header.connections() > kMaxConnections ||
      header.connection() >= header.connections()) {
    return absl::InvalidArgumentError(absl::StrCat("expected 1 to ", kMaxConnections,
                                                   " connections and an index below that, but connection ",
                                                   header.connection(), " of ", header.connections(), " came"));
  }
  return absl::OkStatus();
}

void ShardDriver::OnAttach(const std::shared_ptr<ExchangeStream>& stream, const v1::FrameHeader& header) {
  const Attachment attachment{.who = {Rank(header.rank()), Incarnation(header.incarnation())},
                              .connection = header.connection(),
                              .attempt = header.attempt()};
  const core::AttachWorker event{.who = attachment.who,
                                 .generation = Generation(header.generation()),
                                 .next = Round(header.round()),
                                 .connection = header.connection(),
                                 .connections = header.connections()};
  WorkList work;
  {
    MutexLock lock(&mutex_);
    absl::Status status = CheckAttachLocked(header);
    if (status.ok()) status = Connections::Introduce(*stream, attachment);
    if (!status.ok()) {
      work.push_back(EndStream{stream, std::move(status)});
    } else if (!planner_.connections().IsOvertaken(*stream)) {
      // Only a member's stream may take the place of another; the core refuses the rest.
      if (core_.IsMember(event.who) && event.generation == core_.generation()) planner_.connections().Place(stream);
      StepLocked(event, {.stream = stream}, work);
    }
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::OnStreamClosed(const ExchangeStream& stream) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    if (!planner_.connections().Remove(stream)) return;
    StepLocked(core::DetachWorker{stream.attachment->who.rank, stream.attachment->connection}, {}, work);
  }
  performer_.Perform(std::move(work));
}

absl::StatusOr<const Block*> ShardDriver::CheckContribution(const wire::Frame& frame) const {
  const BlockLayout& layout = model_->layout;
  const uint32_t index = frame.header.block();
  if (index >= layout.blocks().size() || layout.block(BlockIndex(index)).shard != options_.shard) {
    return absl::InvalidArgumentError(absl::StrCat("block ", index, " came, but shard ", options_.shard.value(),
                                                   " does not hold it (the model has ", layout.blocks().size(),
                                                   " blocks on ", layout.shards(), " shards)"));
  }
  const Block& block = layout.block(BlockIndex(index));
  if (absl::Status status = wire::CheckPayload(frame, block.elements); !status.ok()) return status;
  return &block;
}

// Workers count what they have sent and not got back as parameters; the shard counts what it keeps, which is a part of
// that. So nobody who paces itself is ever refused, not even when it sends again after it has connected again.
absl::Status ShardDriver::CheckCreditLocked(Rank rank, const wire::Frame& frame) const {
  const bool counts =
      Generation(frame.header.generation()) == core_.generation() && Round(frame.header.round()) == core_.next_round();
  const uint64_t kept = planner_.contributions().KeptOf(rank);
  if (!counts || kept == 0 || kept + frame.payload_bytes <= model_->credit_of_worker) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("rank ", rank.value(), " is too far ahead in round ", frame.header.round(), ": block ",
                   frame.header.block(), " of ", frame.payload_bytes, " bytes came while ", kept,
                   " bytes of its contribution wait for the other ranks; expected at "
                   "most ",
                   model_->credit_of_worker, " together: send the next block when parameters have come back"));
}

void ShardDriver::OnContribution(const std::shared_ptr<ExchangeStream>& stream, wire::Frame& frame) {
  std::optional<Attachment> from;
  {
    MutexLock lock(&mutex_);
    if (model_ != nullptr) from = stream->attachment;
  }
  if (!from) return Reject(stream, absl::InvalidArgumentError("expected ATTACH before a contribution"));
  const absl::StatusOr<const Block*> block = CheckContribution(frame);
  if (!block.ok()) return Reject(stream, block.status());
  WorkList work;
  {
    MutexLock lock(&mutex_);
    absl::Status status = CheckOpenLocked();
    if (status.ok()) status = CheckCreditLocked(from->who.rank, frame);
    if (!status.ok()) {
      work.push_back(EndStream{stream, std::move(status)});
    } else {
      StepLocked(core::ContributeBlock{.who = from->who,
                                       .generation = Generation(frame.header.generation()),
                                       .round = Round(frame.header.round()),
                                       .slot = (*block)->slot,
                                       .weight = frame.header.weight()},
                 {.stream = stream, .frame = &frame}, work);
    }
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::OnEmptyContribution(const std::shared_ptr<ExchangeStream>& stream, const v1::FrameHeader& header) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    if (!stream->attachment) {
      work.push_back(EndStream{stream, absl::InvalidArgumentError("expected ATTACH before a contribution")});
    } else if (absl::Status open = CheckOpenLocked(); !open.ok()) {
      work.push_back(EndStream{stream, std::move(open)});
    } else {
      StepLocked(core::ContributeEmpty{.who = stream->attachment->who,
                                       .generation = Generation(header.generation()),
                                       .round = Round(header.round()),
                                       .weight = header.weight()},
                 {.stream = stream}, work);
    }
  }
  performer_.Perform(std::move(work));
}

// ---- Work that has ended ----

void ShardDriver::OnGroupSummed(Slot slot, uint32_t group, storage::BufferRef sum) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    planner_.contributions().KeepGroupSum(slot, group, std::move(sum));
    StepLocked(core::GroupSummed{slot, group}, {}, work);
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::OnReduced(Slot slot, storage::Made made) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    planner_.KeepReduced(slot, core_.next_round(), made);
    model_->store.Publish(slot, std::move(made.block));
    StepLocked(core::BlockReduced{slot}, {}, work);
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::OnNotFinite(Slot slot, std::vector<InBlock> found) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    const Block& block = model_->layout.block(model_->block(slot));
    for (const InBlock& in : found) {
      not_finite_.push_back({.in = in.in,
                             .round = core_.next_round(),
                             .rank = in.rank,
                             .tensor = model_->spec.tensors[block.tensor].name,
                             .index = static_cast<uint64_t>(block.offset) + in.finding.index,
                             .value = in.finding.value});
    }
    StepLocked(core::ReductionRefused{}, {}, work);
    // At once. If it does not arrive, the next reports say it again.
    AnswerCoordinator answer;
    *answer.message.mutable_report() = ReportLocked();
    work.push_back(std::move(answer));
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::OnRoundJournaled(Generation generation, Version version) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    StepLocked(core::RoundJournaled{generation, version}, {}, work);
  }
  performer_.Perform(std::move(work));
}

void ShardDriver::OnInstallJournaled(Generation generation) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    StepLocked(core::InstallJournaled{generation}, {}, work);
  }
  performer_.Perform(std::move(work));
}

// ---- Readers ----

void ShardDriver::Pull(const v1::PullRequest& request, std::shared_ptr<PullStream> stream) {
  WorkList work;
  {
    MutexLock lock(&mutex_);
    if (stopping_) {
      work.push_back(
          RefuseReader{std::move(stream),
                       absl::UnavailableError(absl::StrCat("shard ", options_.shard.value(), " is stopping")),
                       {}});
    } else if (run_id_.empty() || restoring_) {
      const char* why = restoring_ ? "this shard is restoring a checkpoint; try again"
                                   : "this shard has not joined a run yet; try again";
      work.push_back(RefuseReader{std::move(stream), absl::UnavailableError(why), {}});
    } else if (request.run_id() != run_id_) {
      work.push_back(RefuseReader{std::move(stream),
                                  absl::PermissionDeniedError(absl::StrCat("this shard serves run '", run_id_,
                                                                           "', not run '", request.run_id(), "'")),
                                  {}});
    } else {
      readers_.Admit(core_, model_.get(), Version(request.version()), std::move(stream), work);
    }
  }
  performer_.Perform(std::move(work));
}

}  // namespace lockstep::service
