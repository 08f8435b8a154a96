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

// The largest message of the data path: a block of the largest size and its header.
inline constexpr int kMaxMessageBytes = 64 << 20;

// A connection to `address` for control calls. Does not block: connecting happens in the background.
std::shared_ptr<grpc::Channel> ControlChannel(const std::string& address);

// A TCP connection of its own to `address`, for one data stream.
std::shared_ptr<grpc::Channel> DataChannel(const std::string& address);

// The settings of a server for both.
void ConfigureServer(grpc::ServerBuilder& builder);

}  // namespace lockstep::wire

#endif  // LOCKSTEP_COMMON_WIRE_CHANNEL_H_
