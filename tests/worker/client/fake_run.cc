#include "tests/worker/client/fake_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace lockstep::testing {
namespace {

std::string Bytes(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!message.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

}  // namespace

// ---- FakeStream ----

grpc::ServerGenericBidiReactor* FakeStream::Open() {
  self_ = shared_from_this();
  MutexLock lock(&mutex_);
  ReadLocked();
  return this;
}

void FakeStream::ReadOn() {
  MutexLock lock(&mutex_);
  reads_ = SIZE_MAX;
  ReadLocked();
}

void FakeStream::Say(const std::string& message) {
  const grpc::Slice slice(message);
  MutexLock lock(&mutex_);
  if (closing_) return;
  queue_.emplace_back(&slice, 1);
  if (queue_.size() == 1) StartWrite(&queue_.front());
}

void FakeStream::End(const grpc::Status& status) {
  MutexLock lock(&mutex_);
  CloseLocked(status);
}

std::vector<std::string> FakeStream::heard() const {
  MutexLock lock(&mutex_);
  return heard_;
}

std::vector<v1::Frame> FakeStream::frames() const {
  std::vector<v1::Frame> frames;
  for (const std::string& bytes : heard()) frames.emplace_back().ParseFromString(bytes);
  return frames;
}

bool FakeStream::AwaitHeard(size_t count) const {
  MutexLock lock(&mutex_);
  const auto there = [this, count]()
                         ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return heard_.size() >= count || closing_; };
  mutex_.Await(absl::Condition(&there));
  return heard_.size() >= count;
}

void FakeStream::AwaitOver() const {
  MutexLock lock(&mutex_);
  const auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_.has_value(); };
  mutex_.Await(absl::Condition(&over));
}

void FakeStream::OnReadDone(bool ok) noexcept {
  std::string bytes;
  {
    MutexLock lock(&mutex_);
    reading_ = false;
    if (!ok) return CloseLocked(grpc::Status::OK);
    bytes = Bytes(incoming_);
    heard_.push_back(bytes);
  }
  handler_(*this, bytes);
  MutexLock lock(&mutex_);
  ReadLocked();
}

void FakeStream::OnWriteDone(bool ok) noexcept {
  MutexLock lock(&mutex_);
  queue_.pop_front();
  if (!ok) CloseLocked(grpc::Status::OK);
  if (closing_) {
    queue_.clear();
    return CloseLocked(*closing_);
  }
  if (!queue_.empty()) StartWrite(&queue_.front());
}

void FakeStream::OnCancel() noexcept {
  MutexLock lock(&mutex_);
  CloseLocked(grpc::Status::CANCELLED);
}

void FakeStream::OnDone() noexcept {
  TsanAcquireFromGrpc();
  TsanReleaseToGrpc();
  self_.reset();
}

void FakeStream::ReadLocked() {
  if (reading_ || closing_ || heard_.size() >= reads_) return;
  reading_ = true;
  StartRead(&incoming_);
}

// Once no write is under way.
void FakeStream::CloseLocked(const grpc::Status& status) {
  if (!closing_) closing_ = status;
  if (finished_ || !queue_.empty()) return;
  finished_ = true;
  Finish(*closing_);
}

// ---- FakeRun ----

FakeRun::FakeRun(FakeRunOptions options)
    : options_(std::move(options)), model_({.tensors = {{.name = "tensor", .shape = {options_.elements}}}}) {
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(-1);
  // What a stream may send that nobody reads is little and does not grow.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65536);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(this);
  server_ = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port);
}

FakeRun::~FakeRun() { server_->Shutdown(absl::ToChronoTime(absl::Now())); }

std::shared_ptr<FakeStream> FakeRun::shard(size_t index) {
  MutexLock lock(&mutex_);
  const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return shard_streams_.size() > index; };
  mutex_.Await(absl::Condition(&there));
  return shard_streams_[index];
}

std::shared_ptr<FakeStream> FakeRun::membership(size_t index) {
  MutexLock lock(&mutex_);
  const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return memberships_.size() > index; };
  mutex_.Await(absl::Condition(&there));
  return memberships_[index];
}

size_t FakeRun::memberships() {
  MutexLock lock(&mutex_);
  return memberships_.size();
}

v1::Announce FakeRun::AnnounceOf(uint64_t generation) {
  v1::Announce announce;
  announce.set_generation(generation);
  announce.set_resume_round(1);
  {
    MutexLock lock(&mutex_);
    announce.add_members()->set_incarnation(incarnation_);
  }
  announce.add_shard_addresses(address_);
  announce.set_block_elements(static_cast<uint64_t>(options_.block_elements));
  announce.set_connections(options_.connections);
  announce.set_credit_bytes(uint64_t{1} << 40);
  return announce;
}

void FakeRun::SendVersion(FakeStream& stream, uint64_t generation, uint64_t version, float value) const {
  for (size_t b = 0; b < blocks(); ++b) {
    v1::Frame frame;
    v1::FrameHeader& header = *frame.mutable_header();
    header.set_kind(v1::FrameHeader::PARAMETERS);
    header.set_generation(generation);
    header.set_round(version);
    header.set_block(static_cast<uint32_t>(b));
    header.set_dtype(v1::DTYPE_F32);
    if (b + 1 == blocks()) {
      header.set_completed_in(generation);
      header.add_participants(0);
    }
    const int64_t elements =
        std::min(options_.block_elements, options_.elements - static_cast<int64_t>(b) * options_.block_elements);
    const std::vector<float> values(static_cast<size_t>(elements), value);
    frame.set_payload(values.data(), values.size() * sizeof(float));
    stream.Say(frame.SerializeAsString());
  }
}

grpc::ServerGenericBidiReactor* FakeRun::CreateReactor(grpc::GenericCallbackServerContext* context) {
  if (context->method() == "/lockstep.v1.Shard/Exchange") return AcceptShardStream();
  if (context->method() == "/lockstep.v1.Coordinator/Work") return AcceptMembership();
  const auto stream = std::make_shared<FakeStream>(SIZE_MAX, [](FakeStream&, const std::string&) {});
  grpc::ServerGenericBidiReactor* const reactor = stream->Open();
  stream->End({grpc::StatusCode::UNIMPLEMENTED, "only streams here"});
  return reactor;
}

grpc::ServerGenericBidiReactor* FakeRun::AcceptMembership() {
  const auto stream = std::make_shared<FakeStream>(
      SIZE_MAX, [this](FakeStream& from, const std::string& bytes) { OnWorkerMessage(from, bytes); });
  {
    MutexLock lock(&mutex_);
    memberships_.push_back(stream);
  }
  return stream->Open();
}

grpc::ServerGenericBidiReactor* FakeRun::AcceptShardStream() {
  const auto stream = std::make_shared<FakeStream>(
      options_.shard_reads, [this](FakeStream& from, const std::string& bytes) { OnFrame(from, bytes); });
  size_t index = 0;
  {
    MutexLock lock(&mutex_);
    index = shard_streams_.size();
    shard_streams_.push_back(stream);
  }
  grpc::ServerGenericBidiReactor* const reactor = stream->Open();
  if (index < options_.hang_up) {
    stream->End({grpc::StatusCode::UNAVAILABLE, "not now"});
  } else if (options_.eager) {
    SendVersion(*stream, options_.generations.back(), 0, 0);
  }
  return reactor;
}

void FakeRun::OnWorkerMessage(FakeStream& stream, const std::string& bytes) {
  v1::WorkerMessage message;
  if (!message.ParseFromString(bytes)) return;
  v1::WorkerCommand command;
  if (message.has_join()) {
    {
      MutexLock lock(&mutex_);
      incarnation_ = message.join().incarnation();
    }
    command.mutable_welcome()->set_run_id("fake");
    command.mutable_welcome()->set_workers(1);
    command.mutable_welcome()->set_shards(1);
    command.mutable_welcome()->set_lease_milliseconds(10'000);
    stream.Say(command.SerializeAsString());
  }
  if (message.has_define()) {
    for (uint64_t generation : options_.generations) {
      *command.mutable_announce() = AnnounceOf(generation);
      stream.Say(command.SerializeAsString());
    }
  }
  if (message.has_leave()) {
    command.mutable_left();
    stream.Say(command.SerializeAsString());
  }
}

// Whoever lacks version 0 gets it.
void FakeRun::OnFrame(FakeStream& stream, const std::string& bytes) {
  v1::Frame frame;
  if (!frame.ParseFromString(bytes) || frame.header().kind() != v1::FrameHeader::ATTACH) return;
  if (frame.header().round() == 0 && !options_.eager) SendVersion(stream, frame.header().generation(), 0, 0);
}

}  // namespace lockstep::testing
