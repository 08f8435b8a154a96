// Messages of the protocol for guests (guest.h): each is right as it comes, and a test spoils what it wants to.
//
//   v1::FrameHeader header = AttachHeader(run_id, /*rank=*/0, incarnation, generation, /*round=*/0);
//   header.set_connections(0);
//   guest->Say(FrameOf(header));
//
// Thread-safety: functions.
#ifndef LOCKSTEP_TESTS_TESTING_MESSAGES_H_
#define LOCKSTEP_TESTS_TESTING_MESSAGES_H_

#include <cstdint>
#include <string>
#include <utility>

#include "proto/coordinator.pb.h"
#include "proto/shard.pb.h"

namespace lockstep::testing {

// The methods, as Guest::Call takes them.
inline constexpr char kExchange[] = "lockstep.v1.Shard/Exchange";
inline constexpr char kPull[] = "lockstep.v1.Shard/Pull";
inline constexpr char kWork[] = "lockstep.v1.Coordinator/Work";
inline constexpr char kServe[] = "lockstep.v1.Coordinator/Serve";

// Bytes that are no message of the protocol at all.
inline constexpr char kNoMessage[] = "\xff\xff\xff\xff";

// ---- Exchange ----

inline v1::Frame FrameOf(v1::FrameHeader header, std::string payload = "") {
  v1::Frame frame;
  *frame.mutable_header() = std::move(header);
  if (!payload.empty()) frame.set_payload(std::move(payload));
  return frame;
}

// The only connection of a worker that holds version `round`.
inline v1::FrameHeader AttachHeader(const std::string& run_id, uint32_t rank, uint64_t incarnation, uint64_t generation,
                                    uint64_t round) {
  v1::FrameHeader header;
  header.set_kind(v1::FrameHeader::ATTACH);
  header.set_run_id(run_id);
  header.set_rank(rank);
  header.set_incarnation(incarnation);
  header.set_generation(generation);
  header.set_round(round);
  header.set_connections(1);
  return header;
}

// ---- Work ----

inline v1::WorkerMessage JoinMessage(const std::string& name, uint64_t incarnation) {
  v1::WorkerMessage message;
  message.mutable_join()->set_name(name);
  message.mutable_join()->set_incarnation(incarnation);
  return message;
}

inline v1::WorkerMessage DefineMessage(const v1::ModelSpec& model) {
  v1::WorkerMessage message;
  *message.mutable_define()->mutable_model() = model;
  return message;
}

// ---- Serve ----

// Of a shard at an address where nobody listens; any run when `run_id` is empty.
inline v1::ShardMessage HelloMessage(uint32_t index, uint64_t incarnation, const std::string& run_id) {
  v1::ShardMessage message;
  message.mutable_hello()->set_shard_index(index);
  message.mutable_hello()->set_incarnation(incarnation);
  message.mutable_hello()->set_address("127.0.0.1:1");
  message.mutable_hello()->set_run_id(run_id);
  return message;
}

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_MESSAGES_H_
