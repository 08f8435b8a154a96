// FakeRun: a coordinator and a shard in this process that do what a test tells them, at the moment that it chooses: a
// shard that reads no more, answers before it is asked, or hangs up at once.
//
//   FakeRun run({.elements = 1000, .block_elements = 100});
//   auto worker = Worker::Join({.coordinator = run.address(), .name = "w"});    // Welcome comes by itself, as rank 0
//   (*worker)->Define(run.model(), ...);                                        // Announce and version 0, too
//   run.shard(0)->SendVersion(...)                                              // the rest is up to the test
//
// Thread-safety: all of it.
#ifndef LOCKSTEP_TESTS_WORKER_CLIENT_FAKE_RUN_H_
#define LOCKSTEP_TESTS_WORKER_CLIENT_FAKE_RUN_H_

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/model.h"
#include "common/mutex.h"
#include "proto/coordinator.pb.h"
#include "proto/shard.pb.h"

namespace lockstep::testing {

// The server's end of one stream. It keeps itself alive until the stream is over.
class FakeStream : public grpc::ServerGenericBidiReactor, public std::enable_shared_from_this<FakeStream> {
 public:
  using Handler = std::function<void(FakeStream&, const std::string& message)>;

  // Reads `reads` messages and then no more, so that the client's writes come to a halt. Each goes to `handler`, too.
  FakeStream(size_t reads, Handler handler) : handler_(std::move(handler)), reads_(reads) {}
  grpc::ServerGenericBidiReactor* Open();

  // Reads on without limit.
  void ReadOn();
  // Dropped once the stream is over.
  void Say(const std::string& message);
  void End(const grpc::Status& status);

  std::vector<std::string> heard() const;
  // The messages as frames.
  std::vector<v1::Frame> frames() const;
  // Blocks until `count` messages have come or the stream is over; says whether they have.
  bool AwaitHeard(size_t count) const;
  // Blocks until one of the two sides has ended the stream.
  void AwaitOver() const;

 private:
  void OnReadDone(bool ok) noexcept override;
  void OnWriteDone(bool ok) noexcept override;
  void OnCancel() noexcept override;
  void OnDone() noexcept override;
  void ReadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseLocked(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Handler handler_;
  mutable Mutex mutex_;
  size_t reads_ ABSL_GUARDED_BY(mutex_);
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> heard_ ABSL_GUARDED_BY(mutex_);
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mutex_);  // the first one is being written
  std::optional<grpc::Status> closing_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer incoming_;
  std::shared_ptr<FakeStream> self_;
};

struct FakeRunOptions {
  int64_t elements = 1000;                  // of the model's only tensor
  int64_t block_elements = 1000;            // its blocks are all on the only shard
  size_t shard_reads = SIZE_MAX;            // messages that the shard reads of each stream
  size_t hang_up = 0;                       // that many streams to the shard end at once
  uint32_t connections = 1;                 // to the shard, as announced
  bool eager = false;                       // the shard sends version 0 before it has read anything
  std::vector<uint64_t> generations = {1};  // announced one behind the other when the model is defined
};

class FakeRun : public grpc::CallbackGenericService {
 public:
  explicit FakeRun(FakeRunOptions options);
  ~FakeRun() override;

  const std::string& address() const { return address_; }
  const ModelSpec& model() const { return model_; }
  size_t blocks() const { return static_cast<size_t>((options_.elements - 1) / options_.block_elements + 1); }
  // The worker's `index`-th stream to the shard; blocks until there is one (the test's time limit ends a wait in vain).
  std::shared_ptr<FakeStream> shard(size_t index);
  // The worker's streams to the coordinator, in the same way.
  std::shared_ptr<FakeStream> membership(size_t index);
  size_t memberships();
  // What the coordinator announces. Say it on membership(0) as a WorkerCommand's.
  v1::Announce AnnounceOf(uint64_t generation);
  // Sends all of `version` over `stream`, each element `value`.
  void SendVersion(FakeStream& stream, uint64_t generation, uint64_t version, float value) const;

 private:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override;
  grpc::ServerGenericBidiReactor* AcceptShardStream();
  grpc::ServerGenericBidiReactor* AcceptMembership();
  void OnWorkerMessage(FakeStream& stream, const std::string& bytes);
  void OnFrame(FakeStream& stream, const std::string& bytes);

  const FakeRunOptions options_;
  const ModelSpec model_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  Mutex mutex_;
  uint64_t incarnation_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::shared_ptr<FakeStream>> shard_streams_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<FakeStream>> memberships_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_WORKER_CLIENT_FAKE_RUN_H_
