// Calls that a process passes on to another one, because it is not the one that can answer.
//
//   any process --GetStatus, Evict, ...--> the coordinator's process
//   any process --Pull of another shard--> the coordinator's process, which knows all addresses --> that shard
//
// So whoever reaches one shard (through `kubectl port-forward`, say) reaches all of them. A call is marked when it is
// passed on: whoever gets a marked one and is not the right one either says so, instead of passing it round in a
// circle.
//
// Thread-safety: functions. Nothing blocks.
#ifndef LOCKSTEP_SERVER_SERVICE_FORWARDING_H_
#define LOCKSTEP_SERVER_SERVICE_FORWARDING_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>

#include <string>

namespace lockstep::service {

bool WasPassedOn(const grpc::CallbackServerContext& context);
void MarkPassedOn(grpc::ClientContext& context);

// The answer to a marked call that is not for this process.
grpc::Status WrongProcess();

// `status` as the one who asked is to see it: whether the call could not be passed on (UNAVAILABLE, DEADLINE_EXCEEDED)
// is told from what `whom` ("the coordinator") at `address` answered.
grpc::Status FromFarther(const grpc::Status& status, const std::string& whom, const std::string& address);

// Passes a Pull on to `whom` at `address`, and its frames back, one at a time: it holds no more than one. Ends with
// what that one ends with, its trailers included; a reader that goes ends the other call, too.
grpc::ServerWriteReactor<grpc::ByteBuffer>* RelayPull(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer& request, const std::string& whom,
                                                      const std::string& address);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_FORWARDING_H_
