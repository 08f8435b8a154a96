#include "worker/client/worker_impl.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/convert.h"
#include "common/random_id.h"
#include "common/weight.h"
#include "common/wire/status.h"
#include "proto/control.grpc.pb.h"
#include "spdlog/spdlog.h"

namespace lockstep {
namespace {

using client::Call;
using client::DataStream;
using client::MembershipStream;
using client::Todo;

// How long gRPC may hold on to the caller's memory once it is over, and how often the timekeeper looks.
constexpr absl::Duration kPatience = absl::Milliseconds(200);
constexpr absl::Duration kLook = absl::Milliseconds(2);

std::vector<size_t> Sizes(const auto& spans) {
  std::vector<size_t> sizes;
  for (const auto& span : spans) sizes.push_back(span.size());
  return sizes;
}

}  // namespace

Worker::Impl::Impl(JoinOptions options)
    : options_(std::move(options)), incarnation_(RandomId()), membership_(options_, incarnation_) {
  timekeeper_ = std::thread([this] { KeepTime(); });
}

Worker::Impl::~Impl() {
  Todo todo;
  std::shared_ptr<Call> abandoned;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    FailLocked(absl::CancelledError("the Worker was destroyed"), todo);
    abandoned = calls_.current();
  }
  Do(std::move(todo));
  CancelData();
  timekeeper_.join();
  std::shared_ptr<Call> late;
  {
    MutexLock lock(&mutex_);
    const auto quiet = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return alive_.empty(); };
    mutex_.Await(absl::Condition(&quiet));
    late = calls_.TakeLate(/*anyway=*/true);  // there is no timekeeper any more
  }
  if (abandoned != nullptr) ReclaimMemory(*abandoned);
  if (late != nullptr) {
    ReclaimMemory(*late);
    Deliver(*late);
  }
}

Rank Worker::Impl::rank() const {
  MutexLock lock(&mutex_);
  return membership_.rank();
}

uint32_t Worker::Impl::workers() const {
  MutexLock lock(&mutex_);
  return membership_.welcome().workers();
}

uint32_t Worker::Impl::shards() const {
  MutexLock lock(&mutex_);
  return membership_.welcome().shards();
}

const std::string& Worker::Impl::run_id() const {
  MutexLock lock(&mutex_);
  return membership_.run_id();
}

uint64_t Worker::Impl::generation() const {
  MutexLock lock(&mutex_);
  return session_ == nullptr ? 0 : session_->generation().value();
}

// ---- Time ----

// Never waits for anything else: heartbeats go on whatever happens to the data.
void Worker::Impl::KeepTime() {
  bool looking = false;                              // after a late call
  absl::Time impatient_at = absl::InfiniteFuture();  // when the connections that may hold on to its memory are ended
  while (true) {
    Todo todo;
    std::shared_ptr<MembershipStream> beat;
    std::shared_ptr<Call> late;
    bool impatient = false;
    {
      MutexLock lock(&mutex_);
      const absl::Duration sleep = membership_.LongestSleep();
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), looking ? std::min(sleep, kLook) : sleep)) return;
      const absl::Time now = MonotonicNow();
      late = calls_.TakeLate(/*anyway=*/false);
      if (!std::exchange(looking, calls_.HasLate())) impatient_at = now + kPatience;
      impatient = looking && now >= impatient_at;
      if (impatient) impatient_at = absl::InfiniteFuture();  // once: a connection that opens later lends nothing
      if (!calls_.fatal()) beat = membership_.Beat(now);
      if (!calls_.fatal() && membership_.WantsStream(now)) MakeMembershipLocked(todo);
      if (!calls_.fatal() && !membership_.left()) MakeDataLocked(now, todo);
    }
    if (beat != nullptr) {
      v1::WorkerMessage message;
      message.mutable_heartbeat();
      beat->Send(std::move(message));
    }
    Do(std::move(todo));
    if (late != nullptr) Deliver(*late);
    if (impatient) CancelData();
  }
}

// ---- The coordinator's stream ----

void Worker::Impl::MakeMembershipLocked(Todo& todo) {
  todo.open_membership = membership_.MakeStream(this, model_);
  alive_.insert(todo.open_membership.get());
}

void Worker::Impl::OnCommand(const v1::WorkerCommand& command) {
  Todo todo;
  {
    MutexLock lock(&mutex_);
    if (command.has_welcome()) membership_.OnWelcome(command.welcome(), MonotonicNow());
    if (command.has_announce()) OnAnnounceLocked(command.announce(), todo);
    if (command.has_left()) membership_.OnLeft();
  }
  Do(std::move(todo));
}

void Worker::Impl::OnAnnounceLocked(const v1::Announce& announce, Todo& todo) {
  if (calls_.fatal() || announce.generation() <= data_.generation()) return;
  if (absl::Status status = data_.OnAnnounce(announce, model_); !status.ok()) return FailLocked(status, todo);
  const Member me = {membership_.rank(), incarnation_};
  data_.Introduce(membership_.run_id(), me);
  if (session_ == nullptr) {
    session_ = std::make_unique<client::SessionCore>(data_.SessionFor(me));
    if (calls_.current() != nullptr) StepLocked(client::Contribute{calls_.current()->round}, todo);
  }
  StepLocked(client::GenerationAnnounced{.generation = Generation(announce.generation()),
                                         .resume = Round(announce.resume_round()),
                                         .members = FromProto(announce.members()),
                                         .rolled_back_in = Generation(announce.rolled_back_in())},
             todo);
  for (const v1::Exclusion& excluded : announce.excluded()) {
    if (Rank(excluded.rank()) != me.rank || excluded_from_ == Round(announce.resume_round())) continue;
    excluded_from_ = Round(announce.resume_round());
    spdlog::warn("this worker's contribution does not count: {}", excluded.why());
  }
  MakeDataLocked(absl::InfiniteFuture(), todo);
}

void Worker::Impl::OnMembershipClosed(const MembershipStream& stream, const grpc::Status& grpc_status) {
  Todo todo;
  {
    MutexLock lock(&mutex_);
    const absl::Status status = calls_.fatal() ? absl::OkStatus() : wire::FromGrpc(grpc_status);
    const absl::Status fatal = membership_.OnClosed(stream, status, MonotonicNow());
    if (!fatal.ok()) FailLocked(fatal, todo);
  }
  Do(std::move(todo));
  Forget(&stream);
}

void Worker::Impl::FailLocked(const absl::Status& status, Todo& todo) {
  calls_.Fail(status, todo);
  todo.give_up = membership_.stream();
}

// The last thing that a stream's thread does here: afterwards the Impl may be gone.
void Worker::Impl::Forget(const void* stream) {
  MutexLock lock(&mutex_);
  alive_.erase(stream);
}

// ---- The shards' streams ----

void Worker::Impl::MakeDataLocked(absl::Time due, Todo& todo) {
  for (const std::shared_ptr<DataStream>& stream : data_.MakeStreams(this, due)) {
    alive_.insert(stream.get());
    todo.open.push_back(stream);
    StepLocked(client::Connected{stream->shard(), stream->connection()}, todo);
  }
}

void Worker::Impl::OnDataClosed(const DataStream& stream, const grpc::Status& grpc_status) {
  const absl::Status status = wire::FromGrpc(grpc_status);
  Todo todo;
  {
    MutexLock lock(&mutex_);
    const absl::Time now = MonotonicNow();
    if (data_.OnClosed(stream, now)) {
      StepLocked(client::Disconnected{stream.shard(), stream.connection()}, todo);
      const bool expected = membership_.left() || membership_.leaving();
      const absl::Status fatal = calls_.fatal() ? absl::OkStatus() : data_.Judge(stream, status, expected, now);
      if (!fatal.ok()) FailLocked(fatal, todo);
    }
  }
  Do(std::move(todo));
  Forget(&stream);
}

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
  if (absl::Status status = data_.CheckBlock(stream, frame); !status.ok()) {
    spdlog::error("shard {} sent block {}: {}; connecting again", stream.shard().value(), header.block(),
                  std::string(status.message()));
    return stream.Cancel();
  }
  const Block& block = data_.layout().block(BlockIndex(header.block()));
  const Generation generation(header.generation());
  const Version version(header.round());
  Todo todo;
  std::shared_ptr<Call> call;
  {
    MutexLock lock(&mutex_);
    StepLocked(client::ParametersArrived{stream.shard(), generation, version, block.slot}, todo);
    if (todo.store_block) {
      call = calls_.current();
      data_.NoteReturned(stream.shard(), block, call.get(), *session_, todo);
    }
  }
  Do(std::exchange(todo, {}));
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

// ---- SessionCore's decisions ----

template <typename Event>
void Worker::Impl::StepLocked(const Event& event, Todo& todo) {
  client::SessionEffects effects;
  session_->Step(event, effects);
  for (const client::SessionEffect& effect : effects) {
    std::visit([&](const auto& e) ABSL_NO_THREAD_SAFETY_ANALYSIS { PlanLocked(e, todo); }, effect);
  }
}

void Worker::Impl::StepCompleteLocked(ShardIndex shard, const v1::FrameHeader& header, Todo& todo) {
  StepLocked(client::CompleteArrived{.shard = shard,
                                     .generation = Generation(header.generation()),
                                     .version = Version(header.round()),
                                     .completed_in = Generation(header.completed_in()),
                                     .participants = RanksFromProto(header.participants())},
             todo);
}

void Worker::Impl::PlanLocked(const client::SendAttach& effect, Todo& todo) { data_.Greet(effect, todo); }

void Worker::Impl::PlanLocked(const client::SendContribution& effect, Todo& todo) {
  data_.Contribute(effect, *calls_.current(), *session_, todo);
}

void Worker::Impl::PlanLocked(const client::StoreBlock&, Todo& todo) { todo.store_block = true; }

void Worker::Impl::PlanLocked(const client::VersionHeld& effect, Todo& todo) {
  RoundResult result{.version = effect.version.value(),
                     .participants = {},
                     .counted = effect.counted,
                     .generation = session_->generation().value()};
  for (Rank rank : effect.participants) result.participants.push_back(rank.value());
  result.rolled_back = effect.rolled_back;
  const std::shared_ptr<Call>& call = calls_.current();
  const bool counts = call != nullptr && call->round == effect.version && call->weight > 0;
  if (counts && effect.version > Version(0) && !absl::c_linear_search(effect.participants, membership_.rank())) {
    spdlog::warn("version {} was made without the contribution of this worker, rank {}", effect.version.value(),
                 membership_.rank().value());
  }
  calls_.Settle(std::move(result), todo);
}

void Worker::Impl::PlanLocked(const client::SessionFailed& effect, Todo& todo) { FailLocked(effect.status, todo); }

// ---- Without the lock ----

void Worker::Impl::Do(Todo todo) {
  if (todo.open_membership != nullptr) todo.open_membership->Open();
  for (const auto& stream : todo.open) stream->Open();
  for (const auto& stream : todo.flush) stream->Flush();
  if (todo.give_up != nullptr) todo.give_up->Cancel();
  if (todo.deliver == nullptr) return;
  if (todo.deliver->memory->Close()) return Deliver(*todo.deliver);
  MutexLock lock(&mutex_);
  calls_.DeliverLater(std::move(todo.deliver));  // this may be a thread of gRPC's, which must not wait
}

void Worker::Impl::Deliver(Call& call) {
  {
    MutexLock lock(&mutex_);
    call.told = true;  // before `done`, which may wake somebody who begins the next call
  }
  call.done(*call.result);
  MutexLock lock(&mutex_);
  call.delivered = true;
}

void Worker::Impl::CancelData() {
  client::DataStreams::StreamList streams;
  {
    MutexLock lock(&mutex_);
    streams = data_.Streams();
  }
  for (const auto& stream : streams) stream->Cancel();
}

// Normally nobody uses it: the result proves that every byte has arrived. A connection that still holds on to some (a
// paused shard, a contribution that was sent twice) is ended; one that opens meanwhile finds the memory closed.
void Worker::Impl::ReclaimMemory(Call& call) {
  if (call.memory->Close()) return;
  if (call.memory->AwaitReturned(kPatience)) return;
  CancelData();
  call.memory->AwaitReturned(absl::InfiniteDuration());
}

// ---- Calls ----

absl::Status Worker::Impl::Join() {
  MutexLock lock(&mutex_);
  const auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return membership_.welcomed() || membership_.left() || calls_.fatal().has_value();
  };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&settled), options_.timeout)) return membership_.NoPlaceError();
  if (calls_.fatal()) return *calls_.fatal();
  if (membership_.left()) {
    return absl::AlreadyExistsError(absl::StrCat("the run is done, or worker '", options_.name,
                                                 "' has left it before: there is nothing left for it to do"));
  }
  return absl::OkStatus();
}

absl::Status Worker::Impl::StartDefine(const ModelSpec& model, ParameterSpans parameters) {
  if (absl::Status status = Validate(model); !status.ok()) return status;
  std::shared_ptr<MembershipStream> stream;
  {
    MutexLock lock(&mutex_);
    if (absl::Status status = calls_.CheckReady(membership_.leaving()); !status.ok()) return status;
    if (model_) return absl::FailedPreconditionError("Define: this worker has defined its model already");
    if (absl::Status status = client::CheckSizes("parameters", model, Sizes(parameters)); !status.ok()) return status;
    model_ = model;
    auto call = std::make_shared<Call>();
    call->round = Round(0);
    call->weight = 1;
    call->parameters.assign(parameters.begin(), parameters.end());
    // Version 0 is written to `parameters` while it is still being sent: send a copy.
    for (absl::Span<float> values : parameters) call->initial_values.emplace_back(values.begin(), values.end());
    for (const std::vector<float>& values : call->initial_values) call->gradients.emplace_back(values);
    calls_.Begin(std::move(call));
    stream = membership_.stream();
  }
  if (stream == nullptr) return absl::OkStatus();  // the next one will say it
  v1::WorkerMessage message;
  *message.mutable_define()->mutable_model() = ToProto(model);
  stream->Send(std::move(message));
  return absl::OkStatus();
}

absl::Status Worker::Impl::StartPushPull(GradientSpans gradients, float weight, ParameterSpans parameters,
                                         client::Done done) {
  if (!IsWeight(weight)) {
    return absl::InvalidArgumentError(absl::StrCat("weight: expected a number from 0 to ", kMaxWeight,
                                                   ", so that the sum over all workers is finite, but got ", weight));
  }
  Todo todo;
  {
    MutexLock lock(&mutex_);
    if (absl::Status status = calls_.CheckReady(membership_.leaving()); !status.ok()) return status;
    if (session_ == nullptr || !session_->defined()) {
      return absl::FailedPreconditionError("PushPull: Define the model first");
    }
    if (absl::Status status = client::CheckSizes("parameters", *model_, Sizes(parameters)); !status.ok()) return status;
    if (weight > 0) {
      if (absl::Status status = client::CheckSizes("gradients", *model_, Sizes(gradients)); !status.ok()) return status;
    }
    auto call = std::make_shared<Call>();
    call->round = session_->next();
    call->weight = weight;
    if (weight > 0) call->gradients.assign(gradients.begin(), gradients.end());
    call->parameters.assign(parameters.begin(), parameters.end());
    call->done = std::move(done);
    calls_.Begin(call);
    StepLocked(client::Contribute{call->round}, todo);
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
                                              session_->AwaitedFrom().size(), " of ", data_.shards(), " shards");
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
    call = calls_.current();
    if (call == nullptr) {
      return calls_.fatal() ? *calls_.fatal() : absl::FailedPreconditionError("Wait: no call is under way");
    }
    const bool finished = mutex_.AwaitWithTimeout(absl::Condition(&client::Calls::IsOver, call.get()), timeout);
    if (finished) calls_.Drop(*call);
    if (!finished) call = nullptr;
  }
  if (call == nullptr) return DeadlineError(timeout);
  ReclaimMemory(*call);
  return *call->result;
}

absl::Status Worker::Impl::Leave(absl::Duration timeout) {
  std::shared_ptr<MembershipStream> stream;
  {
    MutexLock lock(&mutex_);
    if (calls_.fatal()) return *calls_.fatal();
    if (calls_.UnderWay()) return absl::FailedPreconditionError("Leave: a call is under way; Wait for it first");
    membership_.StartLeaving();
    stream = membership_.stream();
  }
  if (stream != nullptr) {
    v1::WorkerMessage message;
    message.mutable_leave();
    stream->Send(std::move(message));
  }
  MutexLock lock(&mutex_);
  const auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return membership_.left() || calls_.fatal(); };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&settled), timeout)) {
    return absl::DeadlineExceededError(absl::StrCat("Leave: the coordinator at ", options_.coordinator,
                                                    " did not answer within ", absl::FormatDuration(timeout)));
  }
  return membership_.left() ? absl::OkStatus() : *calls_.fatal();
}

}  // namespace lockstep
