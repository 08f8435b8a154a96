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
#include <functional>
#include <memory>
#include <string>

#include "proto/control.grpc.pb.h"
#include "server/service/kept_channel.h"

namespace lockstep::service {

// Whom a call is passed on to.
enum class PassedOn { kNot, kToCoordinator, kToShard };

// Whether another process has passed this call on, and to whom. A mark that is not known counts as kToCoordinator.
PassedOn WasPassedOn(const grpc::CallbackServerContext& context);
void MarkPassedOn(grpc::ClientContext& context, PassedOn to);

// The answer of a shard that is not 0 to a call that was passed on to the coordinator.
grpc::Status NotTheCoordinator();
// The answer of shard `own` to a call that was passed on to shard `asked`.
grpc::Status AnotherShard(uint32_t asked, uint32_t own);

// To be called before a call ends: what it ends with is an answer, which whoever has passed the call on hands back as
// it is. UNAVAILABLE and DEADLINE_EXCEEDED without that mark mean that nobody has answered.
void MarkAnswered(grpc::CallbackServerContext& context);

// The process that a call is passed on to.
struct Farther {
  PassedOn to = PassedOn::kToCoordinator;
  std::string whom;  // for people: "the coordinator"
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
};
Farther TheCoordinator(KeptChannel& kept);
Farther TheShard(uint32_t shard, const std::string& address);

// Starts a question with that context, and has its end told.
using StartQuestion =
    std::function<void(v1::Control::Stub& stub, grpc::ClientContext* context, std::function<void(grpc::Status)> done)>;

// Passes a question on to the coordinator, which `kept` leads to: for a few seconds. `start` is called at once, or not
// at all if the question was passed on before.
grpc::ServerUnaryReactor* ForwardQuestion(grpc::CallbackServerContext* context, std::shared_ptr<KeptChannel> kept,
                                          const StartQuestion& start);

// Passes a Pull on to `farther`, and its frames back, one at a time: it holds no more than one. Ends with what that one
// ends with, its trailers included; a reader that goes ends the other call, too. `request` is a valid buffer: that of a
// caller who has gone before it asked is not.
grpc::ServerWriteReactor<grpc::ByteBuffer>* RelayPull(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer& request, Farther farther);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_FORWARDING_H_
