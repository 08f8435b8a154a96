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

// A connection to `address` for control calls. Does not block: connecting happens in the background, an attempt may
// take 5 s, and one that was refused is repeated after 0.1 s, later 1 s.
std::shared_ptr<grpc::Channel> ControlChannel(const std::string& address);

// A TCP connection of its own to `address`, for one data stream.
std::shared_ptr<grpc::Channel> DataChannel(const std::string& address);

// The settings of a server for both.
void ConfigureServer(grpc::ServerBuilder& builder);

}  // namespace lockstep::wire

#endif  // LOCKSTEP_COMMON_WIRE_CHANNEL_H_
