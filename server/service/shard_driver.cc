#include "server/service/shard_driver.h"

#include <unistd.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/convert.h"
#include "common/wire/status.h"
#include "server/service/optimizer_config.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {
namespace {

constexpr uint32_t kMaxConnections = 64;
constexpr size_t kMaxReaders = 16;
constexpr uint32_t kGroupSize = compute::kRadix;

grpc::Slice SliceOf(const storage::BufferRef& block) {
  return wire::Lend(
      block->values().data(), block->bytes(),
      [](void* held) {
        TsanAcquireFromGrpc();
        delete static_cast<storage::BufferRef*>(held);
      },
      new storage::BufferRef(block));
}

v1::FrameHeader CompleteHeader(Generation generation, Version version, Generation completed_in,
                               const std::vector<Rank>& participants) {
  v1::FrameHeader header;
  header.set_kind(v1::FrameHeader::COMPLETE);
  header.set_generation(generation.value());
  header.set_round(version.value());
  header.set_completed_in(completed_in.value());
  ToProto(participants, header.mutable_participants());
  return header;
}

// RESOURCE_EXHAUSTED, with the arithmetic, when this machine cannot hold the shard's part of the model.
absl::Status CheckFits(int64_t elements, compute::OptimizerKind kind) {
  const int state = compute::StateSlots(kind);
  const int copies = 2 + state + (state > 0 ? 1 : 0);
  const double gigabytes = static_cast<double>(elements) * sizeof(float) / 1e9;
  const double machine =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e9;
  if (copies * gigabytes <= machine) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("the model does not fit: %.1f GB of parameters x %d (2 versions, %d of optimizer state, %d of "
                      "gradient) = %.1f GB, "
                      "but this machine has %.1f GB; use more shards",
                      gigabytes, copies, state, state > 0 ? 1 : 0, copies * gigabytes, machine));
}

}  // namespace

// ---- Streams ----

void ExchangeStream::OnMessage(grpc::ByteBuffer& message) {
  driver_->OnFrame(std::static_pointer_cast<ExchangeStream>(shared_from_this()), message);
}

void ExchangeStream::OnClosed() { driver_->OnStreamClosed(*this); }

ShardDriver::ShardDriver(ShardIndex index, Incarnation self, bool checksums,
                         std::function<void(v1::ShardMessage)> answer)
    : index_(index), incarnation_(self), checksums_(checksums), answer_(std::move(answer)), core_(self) {}

std::string ShardDriver::run_id() const {
  MutexLock lock(&mutex_);
  return run_id_;
}

std::string ShardDriver::bound_run_id() const {
  MutexLock lock(&mutex_);
  return store_ == nullptr ? "" : run_id_;
}

template <typename Event>
void ShardDriver::StepLocked(const Event& event, Context& context) {
  core::ShardEffects effects;
  core_.Step(event, MonotonicNow(), effects);
  for (size_t i = 0; i < effects.size(); ++i) {
    const auto* block = std::get_if<core::SendBlock>(&effects[i]);
    const auto* complete = i + 1 < effects.size() ? std::get_if<core::SendComplete>(&effects[i + 1]) : nullptr;
    if (block != nullptr && complete != nullptr && block->to == complete->to) {
      PlanLastBlockLocked(*block, *complete, context);
      ++i;
    } else {
      std::visit([&](auto& e) ABSL_NO_THREAD_SAFETY_ANALYSIS { PlanLocked(e, context); }, effects[i]);
    }
  }
  if (core_.next_round() != seen_round_) NoteCompletedLocked(context.work);
}

void ShardDriver::Perform(WorkList work) {
  for (Work& item : work) {
    std::visit([&](auto& w) { Do(w); }, item);
  }
}

// ---- The coordinator ----

void ShardDriver::Welcome(const std::string& run_id) {
  MutexLock lock(&mutex_);
  run_id_ = run_id;
}

void ShardDriver::Seal(const v1::Seal& seal) {
  Context context;
  {
    MutexLock lock(&mutex_);
    StepLocked(core::SealShard{Generation(seal.generation()), Incarnation(seal.incarnation())}, context);
  }
  Perform(std::move(context.work));
}

// Makes the memory for the model at the first install.
absl::Status ShardDriver::PrepareLocked(const v1::Install& install) {
  if (store_ != nullptr) return absl::OkStatus();
  const absl::StatusOr<ModelSpec> model = lockstep::FromProto(install.model());
  if (!model.ok()) return model.status();
  const absl::StatusOr<Optimization> optimization = FromProto(install.optimizer());
  if (!optimization.ok()) return optimization.status();
  absl::StatusOr<BlockLayout> layout =
      BlockLayout::Create(*model, install.shards(), static_cast<int64_t>(install.block_elements()));
  if (!layout.ok()) return layout.status();
  std::vector<int64_t> elements;
  for (BlockIndex block : layout->of_shard(index_)) elements.push_back(layout->block(block).elements);
  if (absl::Status status = CheckFits(layout->elements_of_shard(index_), optimization->optimizer.kind); !status.ok()) {
    return status;
  }
  auto store =
      std::make_unique<storage::BlockStore>(std::move(elements), optimization->optimizer, optimization->schedule);
  ranks_ = install.workers();
  layout_ = std::make_unique<const BlockLayout>(*std::move(layout));
  store_ = std::move(store);
  spdlog::info("shard {}: {} blocks, {} parameter bytes", index_.value(), store_->blocks(), store_->parameter_bytes());
  return absl::OkStatus();
}

void ShardDriver::Install(const v1::Install& install) {
  Context context;
  {
    MutexLock lock(&mutex_);
    if (absl::Status status = PrepareLocked(install); !status.ok()) {
      PlanLocked(core::AnswerInstalled{Generation(install.generation()), std::move(status)}, context);
    } else {
      core::InstallGeneration event{.generation = Generation(install.generation()),
                                    .to = Incarnation(install.incarnation()),
                                    .resume = Round(install.resume_round()),
                                    .members = lockstep::FromProto(install.members()),
                                    .blocks = store_->blocks()};
      StepLocked(event, context);
    }
  }
  Perform(std::move(context.work));
}

v1::ShardReport ShardDriver::Report() {
  v1::ShardReport report;
  MutexLock lock(&mutex_);
  report.set_generation(core_.generation().value());
  report.set_next_round(core_.next_round().value());
  report.set_blocks(core_.blocks());
  report.set_closed_blocks(core_.closed_blocks());
  for (const core::Missing& missing : core_.MissingBlocks()) {
    report.add_ranks(missing.rank.value());
    report.add_missing_blocks(missing.blocks);
    report.add_awaited_blocks(missing.awaited);
  }
  const absl::Duration waiting = MonotonicNow() - core_.waiting_since();
  if (core_.serving()) report.set_waiting_seconds(absl::ToDoubleSeconds(waiting));
  report.set_parameter_bytes(store_ == nullptr ? 0 : store_->parameter_bytes());
  report.set_contribution_bytes(kept_bytes_);
  for (const core::RoundTimes& times : completed_) {
    v1::RoundRecord* record = report.add_rounds();
    record->set_version(times.version.value());
    record->set_generation(times.generation.value());
    ToProto(times.participants, record->mutable_participants());
    record->set_seconds(absl::ToDoubleSeconds(times.duration));
    record->set_collect_seconds(absl::ToDoubleSeconds(times.collect));
    record->set_last_rank(times.last.value());
    record->set_last_by_seconds(absl::ToDoubleSeconds(times.last_by));
  }
  completed_.clear();
  report.set_duplicates(core_.duplicates());
  report.set_stale(core_.stale());
  return report;
}

// ---- Workers ----

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
  Context context{.frame = nullptr, .stream = stream, .work = {}};
  {
    MutexLock lock(&mutex_);
    if (absl::Status status = CheckAttachLocked(header); !status.ok()) {
      context.work.push_back(Reject{stream, std::move(status)});
    } else {
      stream->attached_ = true;
      stream->who_ = {Rank(header.rank()), Incarnation(header.incarnation())};
      stream->connection_ = header.connection();
      stream->attempt_ = header.attempt();
      const core::AttachWorker event{.who = stream->who_,
                                     .generation = Generation(header.generation()),
                                     .next = Round(header.round()),
                                     .connection = header.connection(),
                                     .connections = header.connections()};
      if (!IsOvertakenLocked(*stream)) {
        // Only a member's stream may take the place of another; the core refuses the rest.
        if (core_.IsMember(stream->who_) && event.generation == core_.generation()) {
          streams_[{stream->who_.rank, stream->connection_}] = stream;
        }
        StepLocked(event, context);
      }
    }
  }
  Perform(std::move(context.work));
}

// The same life of the worker has attached over a newer stream already: this one has broken, and its end is still to
// come.
bool ShardDriver::IsOvertakenLocked(const ExchangeStream& stream) const {
  const auto at = streams_.find({stream.who_.rank, stream.connection_});
  return at != streams_.end() && at->second->who_ == stream.who_ && at->second->attempt_ > stream.attempt_;
}

void ShardDriver::OnStreamClosed(const ExchangeStream& stream) {
  Context context;
  {
    MutexLock lock(&mutex_);
    if (!stream.attached_) return;
    const auto at = streams_.find({stream.who_.rank, stream.connection_});
    if (at == streams_.end() || at->second.get() != &stream) return;
    streams_.erase(at);
    StepLocked(core::DetachWorker{stream.who_.rank, stream.connection_}, context);
  }
  Perform(std::move(context.work));
}

void ShardDriver::OnContribution(const std::shared_ptr<ExchangeStream>& stream, wire::Frame& frame) {
  const v1::FrameHeader& header = frame.header;
  Context context{.frame = &frame, .stream = stream, .work = {}};
  {
    MutexLock lock(&mutex_);
    if (!stream->attached_ || layout_ == nullptr) {
      context.work.push_back(Reject{stream, absl::InvalidArgumentError("expected ATTACH before a contribution")});
    }
  }
  if (context.work.empty()) {
    const bool mine =
        header.block() < layout_->blocks().size() && layout_->block(BlockIndex(header.block())).shard == index_;
    if (!mine) {
      context.work.push_back(Reject{
          stream, absl::InvalidArgumentError(absl::StrCat("block ", header.block(), " came, but shard ", index_.value(),
                                                          " does not hold it (the model has ", layout_->blocks().size(),
                                                          " blocks on ", layout_->shards(), " shards)"))});
    } else {
      const Block& block = layout_->block(BlockIndex(header.block()));
      absl::Status status = wire::CheckPayload(frame, block.elements);
      if (!status.ok()) {
        context.work.push_back(Reject{stream, std::move(status)});
      } else {
        MutexLock lock(&mutex_);
        StepLocked(core::ContributeBlock{.who = stream->who_,
                                         .generation = Generation(header.generation()),
                                         .round = Round(header.round()),
                                         .slot = block.slot,
                                         .weight = header.weight()},
                   context);
      }
    }
  }
  Perform(std::move(context.work));
}

void ShardDriver::OnEmptyContribution(const std::shared_ptr<ExchangeStream>& stream, const v1::FrameHeader& header) {
  Context context{.frame = nullptr, .stream = stream, .work = {}};
  {
    MutexLock lock(&mutex_);
    if (!stream->attached_) {
      context.work.push_back(Reject{stream, absl::InvalidArgumentError("expected ATTACH before a contribution")});
    } else {
      StepLocked(core::ContributeEmpty{.who = stream->who_,
                                       .generation = Generation(header.generation()),
                                       .round = Round(header.round()),
                                       .weight = header.weight()},
                 context);
    }
  }
  Perform(std::move(context.work));
}

// ---- Effects ----

void ShardDriver::PlanLocked(const core::KeepPayload& effect, Context& context) {
  kept_bytes_ += context.frame->payload_bytes;
  kept_[effect.slot.value() * ranks_ + effect.rank.value()] = std::move(context.frame->payload);
}

void ShardDriver::PlanLocked(const core::RejectConnection& effect, Context& context) {
  context.work.push_back(Reject{context.stream, effect.status});
}

std::vector<ShardDriver::KeptPayload> ShardDriver::TakeKeptLocked(Slot slot,
                                                                  const std::vector<core::Weighted>& contributors) {
  std::vector<KeptPayload> taken;
  for (const core::Weighted& contributor : contributors) {
    wire::Slices& payload = kept_[slot.value() * ranks_ + contributor.rank.value()];
    if (payload.empty()) continue;
    for (const grpc::Slice& slice : payload) kept_bytes_ -= slice.size();
    taken.push_back({contributor.rank, contributor.weight, std::move(payload)});
    payload.clear();
  }
  return taken;
}

void ShardDriver::PlanLocked(const core::SumGroup& effect, Context& context) {
  context.work.push_back(Sum{effect.slot, effect.group, TakeKeptLocked(effect.slot, effect.contributors)});
}

void ShardDriver::PlanLocked(const core::ReduceBlock& effect, Context& context) {
  Reduce reduce{
      .round = effect.round, .slot = effect.slot, .grouped = effect.grouped, .payloads = {}, .group_sums = {}};
  double total = 0;
  for (const core::Weighted& contributor : effect.contributors) total += contributor.weight;
  reduce.total_weight = static_cast<float>(total);
  if (effect.grouped) {
    const size_t groups = (ranks_ + kGroupSize - 1) / kGroupSize;
    const auto begin = group_sums_.begin() + static_cast<ptrdiff_t>(effect.slot.value() * groups);
    reduce.group_sums.assign(std::make_move_iterator(begin),
                             std::make_move_iterator(begin + static_cast<ptrdiff_t>(groups)));
  } else {
    reduce.payloads = TakeKeptLocked(effect.slot, effect.contributors);
  }
  context.work.push_back(std::move(reduce));
}

grpc::ByteBuffer ShardDriver::BlockMessage(v1::FrameHeader header, Slot slot, const storage::BufferRef& block) const {
  header.set_kind(v1::FrameHeader::PARAMETERS);
  header.set_block(layout_->of_shard(index_)[slot.value()].value());
  header.set_dtype(v1::DTYPE_F32);
  if (block->checksum) header.set_checksum(*block->checksum);
  return wire::Encode(header, SliceOf(block));
}

void ShardDriver::SendToLocked(const core::Destinations& to, grpc::ByteBuffer message, WorkList& work) {
  const auto shared = std::make_shared<const grpc::ByteBuffer>(std::move(message));
  for (const core::Destination& destination : to) {
    const auto at = streams_.find({destination.rank, destination.connection});
    if (at != streams_.end()) work.push_back(Send{at->second, shared});
  }
}

void ShardDriver::PlanLocked(const core::SendBlock& effect, Context& context) {
  v1::FrameHeader header;
  header.set_generation(effect.generation.value());
  header.set_round(effect.version.value());
  SendToLocked(effect.to, BlockMessage(std::move(header), effect.slot, store_->current(effect.slot)), context.work);
}

// The last block of a round says that the round is complete: one message less on the path of every round.
void ShardDriver::PlanLastBlockLocked(const core::SendBlock& block, const core::SendComplete& complete,
                                      Context& context) {
  v1::FrameHeader header =
      CompleteHeader(complete.generation, complete.version, complete.completed_in, complete.participants);
  SendToLocked(block.to, BlockMessage(std::move(header), block.slot, store_->current(block.slot)), context.work);
}

void ShardDriver::PlanLocked(const core::SendComplete& effect, Context& context) {
  SendToLocked(
      effect.to,
      wire::Encode(CompleteHeader(effect.generation, effect.version, effect.completed_in, effect.participants)),
      context.work);
}

void ShardDriver::PlanLocked(const core::CommitVersion&, Context&) { store_->Commit(); }

void ShardDriver::PlanLocked(const core::UndoBlocks& effect, Context&) {
  spdlog::info("shard {}: undoes {} tentative blocks", index_.value(), effect.slots.size());
  for (Slot slot : effect.slots) store_->Undo(slot);
}

void ShardDriver::PlanLocked(const core::DropContributions&, Context&) {
  const size_t blocks = store_ == nullptr ? 0 : store_->blocks();
  kept_.assign(blocks * ranks_, {});
  group_sums_.assign(blocks * ((ranks_ + kGroupSize - 1) / kGroupSize), nullptr);
  kept_bytes_ = 0;
}

void ShardDriver::PlanLocked(const core::AnswerSealed& effect, Context& context) {
  Answer answer;
  v1::Sealed* sealed = answer.message.mutable_sealed();
  sealed->set_generation(effect.generation.value());
  sealed->set_next_round(effect.next.value());
  sealed->set_completed_in(effect.completed_in.value());
  context.work.push_back(std::move(answer));
}

void ShardDriver::PlanLocked(const core::AnswerInstalled& effect, Context& context) {
  Answer answer;
  v1::Installed* installed = answer.message.mutable_installed();
  installed->set_generation(effect.generation.value());
  if (!effect.status.ok()) installed->set_error(std::string(effect.status.message()));
  context.work.push_back(std::move(answer));
}

// ---- Work ----

void ShardDriver::Do(Send& send) { send.stream->Send(*send.message); }

void ShardDriver::Do(Reject& reject) {
  spdlog::warn("shard {}: refuses a connection: {}", index_.value(), std::string(reject.status.message()));
  reject.stream->Close(wire::ToGrpc(reject.status));
}

void ShardDriver::Do(Answer& answer) { answer_(std::move(answer.message)); }

void ShardDriver::Do(Served& served) { served.stream->Serve(std::move(served.frames)); }

namespace {

// A payload's slices as the reduction takes them.
using Views = absl::InlinedVector<compute::ByteSlice, 4>;

Views ViewsOf(const wire::Slices& payload) {
  Views views;
  for (const grpc::Slice& slice : payload) {
    views.push_back({reinterpret_cast<const std::byte*>(slice.begin()), slice.size()});
  }
  return views;
}

template <typename Payloads>
std::vector<compute::Contribution> ContributionsOf(const Payloads& payloads, std::vector<Views>& views) {
  std::vector<compute::Contribution> contributions;
  views.reserve(payloads.size());
  for (const auto& kept : payloads) {
    views.push_back(ViewsOf(kept.payload));
    contributions.push_back({.rank = kept.rank.value(), .weight = kept.weight, .slices = views.back()});
  }
  return contributions;
}

}  // namespace

void ShardDriver::Do(Sum& sum) {
  std::vector<Views> views;
  const std::vector<compute::Contribution> group = ContributionsOf(sum.payloads, views);
  const bool present = std::any_of(group.begin(), group.end(), [](const auto& c) { return c.weight > 0; });
  storage::BufferRef result = present ? store_->SumGroup(sum.slot, group) : nullptr;
  Context context;
  {
    MutexLock lock(&mutex_);
    group_sums_[sum.slot.value() * ((ranks_ + kGroupSize - 1) / kGroupSize) + sum.group] = std::move(result);
    StepLocked(core::GroupSummed{sum.slot, sum.group}, context);
  }
  Perform(std::move(context.work));
}

void ShardDriver::Do(Reduce& reduce) {
  std::vector<Views> views;
  storage::RoundInput input{.contributions = ContributionsOf(reduce.payloads, views),
                            .group_sums = {},
                            .grouped = reduce.grouped,
                            .total_weight = reduce.total_weight};
  for (const storage::BufferRef& sum : reduce.group_sums) {
    input.group_sums.push_back(sum == nullptr ? nullptr : sum->values().data());
  }
  storage::BufferRef block = store_->Compute(reduce.slot, reduce.round, input);
  if (checksums_ && !block->checksum) {
    const grpc::Slice slice = SliceOf(block);
    block->checksum = wire::Checksum({&slice, 1});
  }
  reduce.payloads.clear();
  Context context;
  {
    MutexLock lock(&mutex_);
    store_->Publish(reduce.slot, std::move(block));
    StepLocked(core::BlockReduced{reduce.slot}, context);
  }
  Perform(std::move(context.work));
}

// ---- Readers ----

std::vector<grpc::ByteBuffer> ShardDriver::SnapshotLocked(Version version) const {
  std::vector<grpc::ByteBuffer> frames;
  const bool newest = version.next() == core_.next_round();
  for (uint32_t s = 0; s < store_->blocks(); ++s) {
    // A block that this round has closed already has version `newest` behind it.
    const bool closed = core_.IsClosed(Slot(s));
    const storage::BufferRef& block = (newest && !closed) ? store_->current(Slot(s)) : store_->previous(Slot(s));
    if (block == nullptr) return {};
    v1::FrameHeader header;
    header.set_generation(core_.generation().value());
    header.set_round(version.value());
    frames.push_back(BlockMessage(std::move(header), Slot(s), block));
  }
  frames.push_back(wire::Encode(CompleteHeader(core_.generation(), version,
                                               newest ? core_.completed_in() : core_.completed_in_before(),
                                               newest ? core_.participants() : core_.participants_before())));
  return frames;
}

void ShardDriver::NoteCompletedLocked(WorkList& work) {
  const bool completed = core_.next_round() > seen_round_;
  seen_round_ = core_.next_round();
  if (!completed) return;
  completed_.push_back(core_.last_round());
  constexpr size_t kMostRecords = 1024;
  if (completed_.size() > kMostRecords) completed_.erase(completed_.begin());
  const Version newest = seen_round_.previous();
  for (WaitingPull& pull : pulls_) {
    if (pull.version != newest) continue;
    serving_pulls_.push_back(pull.stream);
    work.push_back(Served{std::move(pull.stream), SnapshotLocked(newest)});
  }
  std::erase_if(pulls_, [](const WaitingPull& pull) { return pull.stream == nullptr; });
}

// Readers that wait, and readers that are being served: the latter hold on to blocks.
size_t ShardDriver::ReadersLocked() {
  std::erase_if(pulls_, [](const WaitingPull& pull) { return pull.stream->ended(); });
  std::erase_if(serving_pulls_, [](const std::weak_ptr<PullStream>& pull) {
    const std::shared_ptr<PullStream> stream = pull.lock();
    return stream == nullptr || stream->ended();
  });
  return pulls_.size() + serving_pulls_.size();
}

void ShardDriver::Pull(const v1::PullRequest& request, std::shared_ptr<PullStream> stream) {
  const Version version(request.version());
  absl::Status refused;
  std::optional<uint64_t> gone;  // the newest version, when the one asked for is
  WorkList work;
  {
    MutexLock lock(&mutex_);
    const size_t readers = ReadersLocked();
    const Round next = core_.next_round();
    const bool newest = version < next && version.next() == next;
    const bool before = version < next && version.next().next() == next && core_.tentative();
    if (run_id_.empty()) {
      refused = absl::UnavailableError("this shard has not joined a run yet; try again");
    } else if (request.run_id() != run_id_) {
      refused = absl::PermissionDeniedError(
          absl::StrCat("this shard serves run '", run_id_, "', not run '", request.run_id(), "'"));
    } else if (readers >= kMaxReaders) {
      refused =
          absl::ResourceExhaustedError(absl::StrCat("this shard already has ", readers, " readers; try again later"));
    } else if (newest || before) {
      serving_pulls_.push_back(stream);
      work.push_back(Served{stream, SnapshotLocked(version)});
    } else if (version < next) {
      refused = absl::OutOfRangeError(
          absl::StrCat("version ", version.value(), " is gone; the newest here is ", next.value() - 1));
      gone = next.value() - 1;
    } else {
      pulls_.push_back({version, stream});
    }
  }
  if (!refused.ok()) stream->Refuse(refused, gone);
  Perform(std::move(work));
}

}  // namespace lockstep::service
