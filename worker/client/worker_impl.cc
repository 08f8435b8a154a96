#include "worker/client/worker_impl.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/convert.h"
#include "common/random_id.h"
#include "common/wire/status.h"
#include "proto/control.grpc.pb.h"
#include "spdlog/spdlog.h"

namespace lockstep {
namespace {

using client::DataStream;
using client::MembershipStream;

constexpr absl::Duration kTick = absl::Milliseconds(50);
constexpr absl::Duration kRetryAfter = absl::Milliseconds(200);
constexpr absl::Duration kComplainEvery = absl::Seconds(5);
constexpr int kHeartbeatsPerLease = 10;

// No other attempt of this process can go better.
bool IsFinal(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsInvalidArgument(status) || absl::IsAborted(status) ||
         absl::IsUnimplemented(status);
}

std::vector<size_t> Sizes(const auto& spans) {
  std::vector<size_t> sizes;
  for (const auto& span : spans) sizes.push_back(span.size());
  return sizes;
}

}  // namespace

Worker::Impl::Impl(JoinOptions options) : options_(std::move(options)), incarnation_(RandomId()) {
  timekeeper_ = std::thread([this] { KeepTime(); });
}

Worker::Impl::~Impl() {
  Todo todo;
  std::shared_ptr<Call> abandoned;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    FailLocked(absl::CancelledError("the Worker was destroyed"), todo);
    abandoned = call_;
    if (membership_ != nullptr) membership_->Cancel();
    CancelDataLocked();
  }
  Do(std::move(todo));
  timekeeper_.join();
  {
    MutexLock lock(&mutex_);
    const auto quiet = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return alive_.empty(); };
    mutex_.Await(absl::Condition(&quiet));
  }
  if (abandoned != nullptr) ReclaimMemory(*abandoned);
}

void Worker::Impl::CancelDataLocked() {
  for (auto& shard : connections_) {
    for (Connection& connection : shard) {
      if (connection.stream != nullptr) connection.stream->Cancel();
    }
  }
}

Rank Worker::Impl::rank() const {
  MutexLock lock(&mutex_);
  return Rank(welcome_.rank());
}

uint32_t Worker::Impl::workers() const {
  MutexLock lock(&mutex_);
  return welcome_.workers();
}

uint32_t Worker::Impl::shards() const {
  MutexLock lock(&mutex_);
  return welcome_.shards();
}

uint64_t Worker::Impl::generation() const {
  MutexLock lock(&mutex_);
  return session_ == nullptr ? 0 : session_->generation().value();
}

// ---- Time ----

absl::Duration Worker::Impl::HeartbeatEveryLocked() const {
  return absl::Milliseconds(std::max<int64_t>(welcome_.lease_milliseconds() / kHeartbeatsPerLease, 10));
}

void Worker::Impl::KeepTime() {
  while (true) {
    Todo todo;
    std::shared_ptr<MembershipStream> beat;
    {
      MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_),
                                  welcomed_ ? std::min(kTick, HeartbeatEveryLocked() / 2) : kTick) &&
          late_delivery_ == nullptr) {
        return;
      }
      todo.deliver = std::exchange(late_delivery_, nullptr);
      const absl::Time now = MonotonicNow();
      const bool over = fatal_.has_value() || left_;
      if (membership_ == nullptr && now >= membership_retry_at_ && !over) OpenMembershipLocked();
      if (membership_ != nullptr && now >= next_heartbeat_) {
        next_heartbeat_ = now + HeartbeatEveryLocked();
        beat = membership_;
      }
      for (uint32_t s = 0; s < connections_.size() && !over; ++s) {
        for (uint32_t c = 0; c < connections_[s].size(); ++c) {
          const Connection& connection = connections_[s][c];
          if (connection.stream == nullptr && now >= connection.retry_at) OpenDataLocked(ShardIndex(s), c, todo);
        }
      }
    }
    if (beat != nullptr) {
      v1::WorkerMessage message;
      message.mutable_heartbeat();
      beat->Send(std::move(message));
    }
    if (const std::shared_ptr<Call> late = std::exchange(todo.deliver, nullptr)) {
      ReclaimMemory(*late);
      Deliver(*late);
    }
    Do(std::move(todo));
  }
}

// ---- Membership ----

void Worker::Impl::OpenMembershipLocked() {
  membership_ = std::make_shared<MembershipStream>(this, options_.coordinator);
  alive_.insert(membership_.get());
  membership_->Start();
  v1::WorkerMessage join;
  join.mutable_join()->set_name(options_.name);
  join.mutable_join()->set_incarnation(incarnation_.value());
  if (options_.rank) join.mutable_join()->set_rank(options_.rank->value());
  join.mutable_join()->set_attempt(++membership_attempts_);
  join.mutable_join()->set_run_id(welcomed_ ? run_id_ : options_.run_id);
  membership_->Send(std::move(join));
  if (model_) {
    v1::WorkerMessage define;
    *define.mutable_define()->mutable_model() = ToProto(*model_);
    membership_->Send(std::move(define));
  }
  if (leaving_) {
    v1::WorkerMessage leave;
    leave.mutable_leave();
    membership_->Send(std::move(leave));
  }
}

absl::Status Worker::Impl::Join() {
  MutexLock lock(&mutex_);
  const auto settled = [this]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return welcomed_ || left_ || fatal_.has_value(); };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&settled), options_.timeout)) {
    if (absl::IsResourceExhausted(membership_status_)) return membership_status_;
    return absl::UnavailableError(
        absl::StrCat("got no place in the run from the coordinator at ", options_.coordinator, " within ",
                     absl::FormatDuration(options_.timeout), ": ",
                     membership_status_.ok() ? "no answer" : std::string(membership_status_.message()),
                     ". Is a lockstep-server with --shard-index 0 running there?"));
  }
  if (fatal_) return *fatal_;
  if (left_) return absl::AlreadyExistsError(absl::StrCat("worker '", options_.name, "' has already left this run"));
  return absl::OkStatus();
}

void Worker::Impl::OnCommand(const v1::WorkerCommand& command) {
  Todo todo;
  {
    MutexLock lock(&mutex_);
    if (command.has_welcome()) OnWelcomeLocked(command.welcome());
    if (command.has_announce()) OnAnnounceLocked(command.announce(), todo);
    if (command.has_left()) left_ = true;
  }
  Do(std::move(todo));
}

void Worker::Impl::OnWelcomeLocked(const v1::Welcome& welcome) {
  welcome_ = welcome;
  if (!welcomed_) run_id_ = welcome.run_id();
  welcomed_ = true;
  next_heartbeat_ = MonotonicNow() + HeartbeatEveryLocked();
}

void Worker::Impl::OnMembershipClosed(const MembershipStream& stream, const grpc::Status& grpc_status) {
  const absl::Status status = wire::FromGrpc(grpc_status);
  Todo todo;
  {
    MutexLock lock(&mutex_);
    if (membership_.get() == &stream) {
      membership_.reset();
      next_heartbeat_ = absl::InfiniteFuture();
      membership_retry_at_ = MonotonicNow() + kRetryAfter;
    }
    if (!status.ok() && !stopping_ && !left_) {
      membership_status_ = status;
      if (absl::IsUnimplemented(status)) {
        FailLocked(absl::InvalidArgumentError(absl::StrCat("no coordinator answers at ", options_.coordinator,
                                                           ": expected the address of the lockstep-server with "
                                                           "--shard-index 0")),
                   todo);
      } else if (IsFinal(status)) {
        FailLocked(status, todo);
      } else if (MonotonicNow() >= membership_quiet_until_) {
        membership_quiet_until_ = MonotonicNow() + kComplainEvery;
        spdlog::warn("no place at the coordinator {} now: {}; trying again", options_.coordinator,
                     std::string(status.message()));
      }
    }
  }
  Do(std::move(todo));
  Forget(&stream);
}

// The last thing that a stream's thread does here: afterwards the Impl may be gone.
void Worker::Impl::Forget(const void* stream) {
  MutexLock lock(&mutex_);
  alive_.erase(stream);
}

absl::Status Worker::Impl::Leave(absl::Duration timeout) {
  std::shared_ptr<MembershipStream> stream;
  {
    MutexLock lock(&mutex_);
    if (fatal_) return *fatal_;
    if (CallUnderWayLocked()) return absl::FailedPreconditionError("Leave: a call is under way; Wait for it first");
    leaving_ = true;
    stream = membership_;
  }
  if (stream != nullptr) {
    v1::WorkerMessage message;
    message.mutable_leave();
    stream->Send(std::move(message));
  }
  MutexLock lock(&mutex_);
  const auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return left_ || fatal_.has_value(); };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&settled), timeout)) {
    return absl::DeadlineExceededError(absl::StrCat("Leave: the coordinator at ", options_.coordinator,
                                                    " did not answer within ", absl::FormatDuration(timeout)));
  }
  return left_ ? absl::OkStatus() : *fatal_;
}

// ---- Generations and connections ----

absl::Status Worker::Impl::MakeSessionLocked(const v1::Announce& announce) {
  if (!model_) return absl::InternalError("a generation was announced before this worker has defined the model");
  const auto shards = static_cast<uint32_t>(announce.shard_addresses_size());
  absl::StatusOr<BlockLayout> layout =
      BlockLayout::Create(*model_, shards, static_cast<int64_t>(announce.block_elements()));
  if (!layout.ok()) return layout.status();
  client::SessionOptions options{
      .me = {Rank(welcome_.rank()), incarnation_}, .connections = announce.connections(), .blocks_per_shard = {}};
  for (uint32_t s = 0; s < shards; ++s) {
    options.blocks_per_shard.push_back(static_cast<uint32_t>(layout->of_shard(ShardIndex(s)).size()));
  }
  layout_ = std::make_unique<const BlockLayout>(*std::move(layout));
  connections_.assign(shards, std::vector<Connection>(announce.connections()));
  session_ = std::make_unique<client::SessionCore>(std::move(options));
  if (call_ != nullptr) {
    Todo none;
    StepLocked(client::Contribute{call_->round}, none);
  }
  return absl::OkStatus();
}

void Worker::Impl::OnAnnounceLocked(const v1::Announce& announce, Todo& todo) {
  if (fatal_ || announce.generation() <= announce_.generation()) return;
  if (announce.connections() == 0 || announce.block_elements() == 0 || announce.shard_addresses().empty()) {
    return FailLocked(absl::InternalError("the coordinator announced a generation without shards or blocks"), todo);
  }
  announce_ = announce;
  if (session_ != nullptr && connections_.size() != static_cast<size_t>(announce.shard_addresses_size())) {
    return FailLocked(absl::InternalError("the number of shards of a run cannot change"), todo);
  }
  if (session_ == nullptr) {
    if (absl::Status status = MakeSessionLocked(announce); !status.ok()) return FailLocked(status, todo);
  }
  StepLocked(client::GenerationAnnounced{.generation = Generation(announce.generation()),
                                         .resume = Round(announce.resume_round()),
                                         .members = FromProto(announce.members())},
             todo);
  for (uint32_t s = 0; s < connections_.size(); ++s) {
    for (uint32_t c = 0; c < connections_[s].size(); ++c) {
      if (connections_[s][c].stream == nullptr) OpenDataLocked(ShardIndex(s), c, todo);
    }
  }
}

void Worker::Impl::OpenDataLocked(ShardIndex shard, uint32_t connection, Todo& todo) {
  const std::string& address = announce_.shard_addresses(static_cast<int>(shard.value()));
  auto stream = std::make_shared<DataStream>(this, shard, connection, address);
  alive_.insert(stream.get());
  connections_[shard.value()][connection].stream = stream;
  ++connections_[shard.value()][connection].attempts;
  stream->Start();
  StepLocked(client::Connected{shard, connection}, todo);
}

void Worker::Impl::OnDataClosed(const DataStream& stream, const grpc::Status& grpc_status) {
  const absl::Status status = wire::FromGrpc(grpc_status);
  Todo todo;
  {
    MutexLock lock(&mutex_);
    Connection& connection = connections_[stream.shard().value()][stream.connection()];
    if (connection.stream.get() == &stream) {
      connection.stream.reset();
      connection.retry_at = MonotonicNow() + kRetryAfter;
      StepLocked(client::Disconnected{stream.shard(), stream.connection()}, todo);
      if (!stopping_) NoteDataClosedLocked(stream, status, todo);
    }
  }
  Do(std::move(todo));
  Forget(&stream);
}

void Worker::Impl::NoteDataClosedLocked(const DataStream& stream, const absl::Status& status, Todo& todo) {
  if (IsFinal(status) || absl::IsResourceExhausted(status)) {
    FailLocked(absl::Status(status.code(),
                            absl::StrCat("shard ", stream.shard().value(), ": ", std::string(status.message()))),
               todo);
  } else if (!left_ && !leaving_ && MonotonicNow() >= data_quiet_until_) {
    data_quiet_until_ = MonotonicNow() + kComplainEvery;
    spdlog::info("connection {} to shard {} has ended ({}); connecting again", stream.connection(),
                 stream.shard().value(), std::string(status.message()));
  }
}

// ---- What comes from shards ----

void Worker::Impl::OnData(DataStream& stream, grpc::ByteBuffer& message) {
  wire::Frame frame;
  absl::Status status = wire::Decode(message, frame);
  message.Clear();
  if (status.ok() && frame.header.kind() == v1::FrameHeader::PARAMETERS) return OnParameters(stream, frame);
  if (status.ok() && frame.header.kind() == v1::FrameHeader::COMPLETE) return OnComplete(stream, frame.header);
  spdlog::error("shard {} sent what is no PARAMETERS or COMPLETE frame ({}); connecting again", stream.shard().value(),
                std::string(status.message()));
  stream.Cancel();
}

void Worker::Impl::OnParameters(DataStream& stream, wire::Frame& frame) {
  const v1::FrameHeader& header = frame.header;
  const bool known =
      header.block() < layout_->blocks().size() && layout_->block(BlockIndex(header.block())).shard == stream.shard();
  absl::Status status = known ? wire::CheckPayload(frame, layout_->block(BlockIndex(header.block())).elements)
                              : absl::InvalidArgumentError("a block that is not this shard's");
  if (!status.ok()) {
    spdlog::error("shard {} sent block {}: {}; connecting again", stream.shard().value(), header.block(),
                  std::string(status.message()));
    return stream.Cancel();
  }
  const Block& block = layout_->block(BlockIndex(header.block()));
  const Generation generation(header.generation());
  const Version version(header.round());
  Todo todo;
  std::shared_ptr<Call> call;
  {
    MutexLock lock(&mutex_);
    store_block_ = false;
    StepLocked(client::ParametersArrived{stream.shard(), generation, version, block.slot}, todo);
    if (store_block_) call = call_;
    if (store_block_) NoteReturnedLocked(stream.shard(), block, todo);
  }
  for (const auto& other : todo.flush) other->Flush();
  todo.flush.clear();
  const bool store = call != nullptr && call->memory->TryLend();
  if (store) {
    wire::CopyPayload(frame, call->parameters[block.tensor].data() + block.offset);
    call->memory->Return();
    frame.payload.clear();
  }
  {
    MutexLock lock(&mutex_);
    if (store) StepLocked(client::BlockStored{stream.shard(), generation, version, block.slot}, todo);
    if (header.completed_in() > 0) StepCompleteLocked(stream.shard(), header, todo);
  }
  Do(std::move(todo));
}

void Worker::Impl::OnComplete(const DataStream& stream, const v1::FrameHeader& header) {
  Todo todo;
  {
    MutexLock lock(&mutex_);
    StepCompleteLocked(stream.shard(), header, todo);
  }
  Do(std::move(todo));
}

void Worker::Impl::StepCompleteLocked(ShardIndex shard, const v1::FrameHeader& header, Todo& todo) {
  StepLocked(client::CompleteArrived{.shard = shard,
                                     .generation = Generation(header.generation()),
                                     .version = Version(header.round()),
                                     .completed_in = Generation(header.completed_in()),
                                     .participants = RanksFromProto(header.participants())},
             todo);
}

// ---- Effects ----

template <typename Event>
void Worker::Impl::StepLocked(const Event& event, Todo& todo) {
  client::SessionEffects effects;
  session_->Step(event, effects);
  for (const client::SessionEffect& effect : effects) {
    std::visit([&](const auto& e) ABSL_NO_THREAD_SAFETY_ANALYSIS { PlanLocked(e, todo); }, effect);
  }
}

void Worker::Impl::PlanLocked(const client::SendAttach& effect, Todo& todo) {
  Connection& connection = connections_[effect.shard.value()][effect.connection];
  connection.next_slot = SIZE_MAX;  // what was to be sent in the older generation is not
  const auto& stream = connection.stream;
  v1::FrameHeader header;
  header.set_kind(v1::FrameHeader::ATTACH);
  header.set_generation(effect.generation.value());
  header.set_round(effect.next.value());
  header.set_run_id(run_id_);
  header.set_rank(welcome_.rank());
  header.set_incarnation(incarnation_.value());
  header.set_connection(effect.connection);
  header.set_connections(announce_.connections());
  header.set_attempt(connection.attempts);
  stream->Enqueue([header] { return std::make_optional(wire::Encode(header)); });
  todo.flush.push_back(stream);
}

// Makes the message when its turn has come, unless the call is over by then.
std::function<std::optional<grpc::ByteBuffer>()> Worker::Impl::BlockMakerLocked(BlockIndex index,
                                                                                v1::FrameHeader header) {
  const Block& block = layout_->block(index);
  header.set_block(index.value());
  const absl::Span<const float> values =
      call_->gradients[block.tensor].subspan(static_cast<size_t>(block.offset), static_cast<size_t>(block.elements));
  return [memory = call_->memory, header, values,
          checksums = announce_.checksums()]() mutable -> std::optional<grpc::ByteBuffer> {
    if (!memory->TryLend()) return std::nullopt;
    const grpc::Slice payload = wire::Lend(
        values.data(), values.size() * sizeof(float),
        [](void* held) {
          TsanAcquireFromGrpc();
          auto* lender = static_cast<std::shared_ptr<client::LentMemory>*>(held);
          (*lender)->Return();
          delete lender;
        },
        new std::shared_ptr<client::LentMemory>(memory));
    if (checksums) header.set_checksum(wire::Checksum({&payload, 1}));
    return wire::Encode(header, payload);
  };
}

void Worker::Impl::PlanLocked(const client::SendContribution& effect, Todo& todo) {
  Connection& connection = connections_[effect.shard.value()][effect.connection];
  v1::FrameHeader header;
  header.set_generation(effect.generation.value());
  header.set_round(effect.round.value());
  header.set_weight(call_->weight);
  connection.next_slot = SIZE_MAX;
  if (layout_->of_shard(effect.shard).empty() || call_->gradients.empty()) {
    if (effect.connection != 0) return;
    header.set_kind(v1::FrameHeader::EMPTY_CONTRIBUTION);
    connection.stream->Enqueue([header] { return std::make_optional(wire::Encode(header)); });
    todo.flush.push_back(connection.stream);
    return;
  }
  header.set_kind(v1::FrameHeader::CONTRIBUTION);
  header.set_dtype(v1::DTYPE_F32);
  connection.header = std::move(header);
  connection.next_slot = effect.connection;
  connection.under_way.clear();
  connection.under_way_bytes = 0;
  PumpLocked(effect.shard, effect.connection, todo);
}

void Worker::Impl::PumpLocked(ShardIndex shard, uint32_t index, Todo& todo) {
  Connection& connection = connections_[shard.value()][index];
  if (connection.stream == nullptr || call_ == nullptr) return;
  const std::vector<BlockIndex>& blocks = layout_->of_shard(shard);
  const bool any = connection.next_slot < blocks.size();
  for (; connection.next_slot < blocks.size(); connection.next_slot += announce_.connections()) {
    const Slot slot(static_cast<uint32_t>(connection.next_slot));
    if (session_->HasReceived(shard, slot)) continue;  // the shard has closed it: this contribution was in it
    const size_t bytes = layout_->block(blocks[slot.value()]).bytes();
    if (!connection.under_way.empty() && connection.under_way_bytes + bytes > announce_.credit_bytes()) break;
    connection.under_way.insert(slot);
    connection.under_way_bytes += bytes;
    connection.stream->Enqueue(BlockMakerLocked(blocks[slot.value()], connection.header));
  }
  if (any) todo.flush.push_back(connection.stream);
}

void Worker::Impl::NoteReturnedLocked(ShardIndex shard, const Block& block, Todo& todo) {
  const uint32_t index = block.slot.value() % announce_.connections();
  Connection& connection = connections_[shard.value()][index];
  if (connection.under_way.erase(block.slot) > 0) connection.under_way_bytes -= block.bytes();
  PumpLocked(shard, index, todo);
}

void Worker::Impl::PlanLocked(const client::StoreBlock&, Todo&) { store_block_ = true; }

void Worker::Impl::PlanLocked(const client::VersionHeld& effect, Todo& todo) {
  RoundResult result{
      .version = effect.version.value(), .participants = {}, .generation = session_->generation().value()};
  for (Rank rank : effect.participants) result.participants.push_back(rank.value());
  SettleLocked(std::move(result), todo);
}

void Worker::Impl::PlanLocked(const client::SessionFailed& effect, Todo& todo) { FailLocked(effect.status, todo); }

void Worker::Impl::FailLocked(const absl::Status& status, Todo& todo) {
  if (!fatal_) fatal_ = status;
  SettleLocked(status, todo);
}

void Worker::Impl::SettleLocked(absl::StatusOr<RoundResult> result, Todo& todo) {
  if (call_ == nullptr || call_->result) return;
  call_->result = std::move(result);
  if (call_->done != nullptr) todo.deliver = call_;
}

void Worker::Impl::Do(Todo todo) {
  for (const auto& stream : todo.flush) stream->Flush();
  if (todo.deliver == nullptr) return;
  if (todo.deliver->memory->Close()) return Deliver(*todo.deliver);
  MutexLock lock(&mutex_);
  late_delivery_ = std::move(todo.deliver);  // this is a thread of gRPC's, which must not wait
}

void Worker::Impl::Deliver(Call& call) {
  call.done(*call.result);
  MutexLock lock(&mutex_);
  call.delivered = true;
}

// Waits until nobody uses the caller's memory any more. Normally that is so already: the result proves that every byte
// has arrived. A connection that still holds on to some (a paused shard, a contribution that was sent twice) is ended.
void Worker::Impl::ReclaimMemory(Call& call) {
  if (call.memory->Close()) return;
  constexpr absl::Duration kPatience = absl::Milliseconds(200);
  if (call.memory->AwaitReturned(kPatience)) return;
  {
    MutexLock lock(&mutex_);
    CancelDataLocked();
  }
  call.memory->AwaitReturned(absl::InfiniteDuration());
}

// ---- Calls ----

absl::Status Worker::Impl::CheckReadyLocked() const {
  if (fatal_) return *fatal_;
  if (leaving_) return absl::FailedPreconditionError("this worker has left the run");
  if (CallUnderWayLocked()) return absl::FailedPreconditionError("a call is under way; Wait for it first");
  return absl::OkStatus();
}

bool Worker::Impl::CallUnderWayLocked() const { return call_ != nullptr && !call_->delivered; }

absl::Status Worker::Impl::CheckSizes(const char* what, const std::vector<size_t>& sizes) const {
  if (sizes.size() != model_->tensors.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": expected ", model_->tensors.size(), " arrays, one per tensor, but got ", sizes.size()));
  }
  for (size_t t = 0; t < sizes.size(); ++t) {
    const auto expected = static_cast<size_t>(model_->tensors[t].elements());
    if (sizes[t] == expected) continue;
    return absl::InvalidArgumentError(absl::StrCat(what, " of ", ToString(model_->tensors[t]), ": expected ", expected,
                                                   " elements, but got ", sizes[t]));
  }
  return absl::OkStatus();
}

absl::Status Worker::Impl::StartDefine(const ModelSpec& model, ParameterSpans parameters) {
  if (absl::Status status = Validate(model); !status.ok()) return status;
  std::shared_ptr<MembershipStream> stream;
  {
    MutexLock lock(&mutex_);
    if (absl::Status status = CheckReadyLocked(); !status.ok()) return status;
    if (model_) return absl::FailedPreconditionError("Define: this worker has defined its model already");
    model_ = model;
    if (absl::Status status = CheckSizes("parameters", Sizes(parameters)); !status.ok()) {
      model_.reset();
      return status;
    }
    call_ = std::make_shared<Call>();
    call_->round = Round(0);
    call_->weight = 1;
    call_->parameters.assign(parameters.begin(), parameters.end());
    // Version 0 is written to `parameters` while it is still being sent: send a copy.
    for (absl::Span<float> values : parameters) call_->initial_values.emplace_back(values.begin(), values.end());
    for (const std::vector<float>& values : call_->initial_values) call_->gradients.emplace_back(values);
    stream = membership_;
  }
  if (stream == nullptr) return absl::OkStatus();  // the next one will say it
  v1::WorkerMessage message;
  *message.mutable_define()->mutable_model() = ToProto(model);
  stream->Send(std::move(message));
  return absl::OkStatus();
}

absl::Status Worker::Impl::StartPushPull(GradientSpans gradients, float weight, ParameterSpans parameters, Done done) {
  if (!std::isfinite(weight) || weight < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight: expected a finite number that is not negative, but got ", weight));
  }
  Todo todo;
  {
    MutexLock lock(&mutex_);
    if (absl::Status status = CheckReadyLocked(); !status.ok()) return status;
    if (session_ == nullptr || session_->next() == Round(0)) {
      return absl::FailedPreconditionError("PushPull: Define the model first");
    }
    if (absl::Status status = CheckSizes("parameters", Sizes(parameters)); !status.ok()) return status;
    if (weight > 0) {
      if (absl::Status status = CheckSizes("gradients", Sizes(gradients)); !status.ok()) return status;
    }
    call_ = std::make_shared<Call>();
    call_->round = session_->next();
    call_->weight = weight;
    if (weight > 0) call_->gradients.assign(gradients.begin(), gradients.end());
    call_->parameters.assign(parameters.begin(), parameters.end());
    call_->done = std::move(done);
    StepLocked(client::Contribute{call_->round}, todo);
  }
  Do(std::move(todo));
  return absl::OkStatus();
}

absl::Status Worker::Impl::DeadlineError(absl::Duration timeout) {
  std::string what;
  {
    MutexLock lock(&mutex_);
    what = session_ == nullptr ? "the run has not started"
                               : absl::StrCat("round ", session_->target().value(), " is not complete on ",
                                              session_->AwaitedFrom().size(), " of ", connections_.size(), " shards");
  }
  const auto control = v1::Control::NewStub(wire::ControlChannel(options_.coordinator));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
  v1::Status status;
  const grpc::Status asked = control->GetStatus(&context, v1::StatusRequest(), &status);
  return absl::DeadlineExceededError(absl::StrCat(
      "after ", absl::FormatDuration(timeout), ": ", what, "; ",
      asked.ok() ? status.summary() : absl::StrCat("the coordinator at ", options_.coordinator, " does not answer")));
}

absl::StatusOr<RoundResult> Worker::Impl::Wait(absl::Duration timeout) {
  std::shared_ptr<Call> call;
  {
    MutexLock lock(&mutex_);
    call = call_;
    if (call == nullptr) return fatal_ ? *fatal_ : absl::FailedPreconditionError("Wait: no call is under way");
    const auto over = +[](Call* c) { return c->done == nullptr ? c->result.has_value() : c->delivered; };
    const bool finished = mutex_.AwaitWithTimeout(absl::Condition(over, call.get()), timeout);
    if (!finished) call = nullptr;
    if (finished && call_ == call) call_.reset();
  }
  if (call == nullptr) return DeadlineError(timeout);
  ReclaimMemory(*call);
  return *call->result;
}

}  // namespace lockstep
