// Channels and servers with the settings of Lockstep: deadlines for dead peers everywhere, large messages and reads on
// the data path.
//
// Thread-safety: functions.
#ifndef LOCKSTEP_COMMON_WIRE_CHANNEL_H_
#define LOCKSTEP_COMMON_WIRE_CHANNEL_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace lockstep::wire {

// The largest message: a block of the largest size and its header. A Status of a thousand workers and a large model is
// well below it.
inline constexpr int kMaxMessageBytes = 64 << 20;

// Names: a channel looks the name up when it is made, and again when its connection is lost, at most once a second. A
// name that is not there yet ends the calls that do not wait; gRPC asks for it again after 1 s, 1.6 s, 2.6 s ... up to
// two minutes, so that whoever tries again makes a new channel instead.
//
// Dead peers: a connection on which nothing has come for 5 s is asked for a sign of life, and lost 5 s later; one whose
// bytes are not acknowledged is lost after 5 s (TCP_USER_TIMEOUT, which gRPC sets from these two).

// Lets gRPC ask a name server again one second after a question without an answer, and two seconds after that.
// Otherwise it asks once, and a single lost packet costs a look-up of 5 s. By the environment (RES_OPTIONS, in
// milliseconds for c-ares 1.18, unless it is set already), so call it first in main, before there are threads. A little
// less than a second, since gRPC looks for timeouts once a second.
void AskForNamesAgainSoon();

// A connection to `address` for control calls. Does not block: connecting happens in the background, an attempt may
// take 5 s, and one that was refused is repeated after 0.1 s, later 1 s.
std::shared_ptr<grpc::Channel> ControlChannel(const std::string& address);

// A TCP connection of its own to `address`, for one data stream.
std::shared_ptr<grpc::Channel> DataChannel(const std::string& address);

// The settings of a server for both.
void ConfigureServer(grpc::ServerBuilder& builder);

}  // namespace lockstep::wire

#endif  // LOCKSTEP_COMMON_WIRE_CHANNEL_H_
