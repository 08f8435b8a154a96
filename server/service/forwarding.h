// Calls that a process passes on to another one, because it is not the one that can answer.
//
//   any process --GetStatus, Evict, ...--> the coordinator's process
//   any process --Pull of another shard--> the coordinator's process, which knows all addresses --> that shard
//
// So whoever reaches one shard (through `kubectl port-forward`, say) reaches all of them. A call is marked with whom it
// is passed on to: whoever gets a marked one and is not the right one says so, instead of passing it round in a circle.
//
// Thread-safety: all of it. Nothing blocks.
#ifndef LOCKSTEP_SERVER_SERVICE_FORWARDING_H_
#define LOCKSTEP_SERVER_SERVICE_FORWARDING_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace lockstep::service {

// The way to the process at `address` for calls that are passed on. It is opened when this is made and kept, so that a
// call needs no answer of the name service: one that is lost takes longer to come again (5 s) than a call may take.
//
// Not a data channel: that would read far ahead of a slow reader.
class KeptChannel {
 public:
  explicit KeptChannel(std::string address);

  const std::string& address() const { return address_; }
  // The channel of the next call: the same as long as it is connected, or about to be; otherwise a new one, which looks
  // the name up at once.
  std::shared_ptr<grpc::Channel> Get() ABSL_LOCKS_EXCLUDED(mutex_);
  // A call over `channel` ended with `status`. One that is connected and does not answer in time may be connected to a
  // machine that is gone: the next call gets another one.
  void Ended(const std::shared_ptr<grpc::Channel>& channel, const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const std::string address_;
  Mutex mutex_;
  std::shared_ptr<grpc::Channel> channel_ ABSL_GUARDED_BY(mutex_);
};

enum class PassedOn { kNot, kToCoordinator, kToShard };

// Whether another process has passed this call on, and to whom. A mark that is not known counts as kToCoordinator.
PassedOn WasPassedOn(const grpc::CallbackServerContext& context);
void MarkPassedOn(grpc::ClientContext& context, PassedOn to);

// The answer of a shard that is not 0 to a call that was passed on to the coordinator.
grpc::Status NotTheCoordinator();
// The answer of shard `own` to a call that was passed on to shard `asked`.
grpc::Status AnotherShard(uint32_t asked, uint32_t own);

// `status` as the one who asked is to see it: whether the call could not be passed on (UNAVAILABLE, DEADLINE_EXCEEDED)
// is told from what `whom` ("the coordinator") at `address` answered.
grpc::Status FromFarther(const grpc::Status& status, const std::string& whom, const std::string& address);

// Passes a Pull on to `whom` ("shard 2"), which `kept` leads to, and its frames back, one at a time: it holds no more
// than one. Ends with what that one ends with, its trailers included; a reader that goes ends the other call, too.
// `request` is a valid buffer: that of a caller who has gone before it asked is not.
grpc::ServerWriteReactor<grpc::ByteBuffer>* RelayPull(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer& request, PassedOn to,
                                                      const std::string& whom, std::shared_ptr<KeptChannel> kept);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_FORWARDING_H_
