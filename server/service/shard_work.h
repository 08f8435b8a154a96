// What an event leaves to be done without the shard's lock. Every item holds references to all it needs, so that
// nothing is looked up when it is done.
//
//   ShardPlanner, Readers (under ShardDriver's lock) --make--> WorkList --is done by--> ShardPerformer (without it)
//
// Thread-safety: values.
#ifndef LOCKSTEP_SERVER_SERVICE_SHARD_WORK_H_
#define LOCKSTEP_SERVER_SERVICE_SHARD_WORK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "common/ids.h"
#include "proto/coordinator.pb.h"
#include "server/service/contributions.h"
#include "server/service/exchange_stream.h"
#include "server/storage/block_store.h"

namespace lockstep::service {

// Where a reader's frames go.
class PullStream {
 public:
  virtual ~PullStream() = default;
  // Queues the frames and then ends the stream. Called once.
  virtual void Serve(std::vector<grpc::ByteBuffer> frames) = 0;
  // `newest`: the newest version here, if the reader should ask for a later one.
  virtual void Refuse(const absl::Status& status, std::optional<uint64_t> newest) = 0;
  // The reader is gone: nobody waits for an answer.
  virtual bool ended() = 0;
};

// Queues a message on a worker's stream.
struct SendFrame {
  std::shared_ptr<ExchangeStream> stream;
  std::shared_ptr<const grpc::ByteBuffer> message;
  Version version;  // that it is about
};

// Ends a worker's stream.
struct EndStream {
  std::shared_ptr<ExchangeStream> stream;
  absl::Status status;
};

// Adds up one group's payloads; then ShardEvents::OnGroupSummed, or OnNotFinite if that is checked and so.
struct SumPayloads {
  storage::BlockStore* store = nullptr;
  Slot slot;
  uint32_t group = 0;
  bool check_finite = false;
  std::vector<KeptPayload> payloads;
};

// Computes one block of the next version; then ShardEvents::OnReduced, or OnNotFinite if that is checked and so.
struct ReducePayloads {
  storage::BlockStore* store = nullptr;
  Round round;
  Slot slot;
  bool grouped = false;
  bool check_finite = false;
  float total_weight = 0;
  std::vector<KeptPayload> payloads;           // unless grouped
  std::vector<storage::BufferRef> group_sums;  // if grouped
};

// Answers the coordinator.
struct AnswerCoordinator {
  v1::ShardMessage message;
};

// Gives a reader its version.
struct ServeReader {
  std::shared_ptr<PullStream> stream;
  std::vector<grpc::ByteBuffer> frames;
};

struct RefuseReader {
  std::shared_ptr<PullStream> stream;
  absl::Status status;
  std::optional<uint64_t> newest;
};

using Work =
    std::variant<SendFrame, EndStream, SumPayloads, ReducePayloads, AnswerCoordinator, ServeReader, RefuseReader>;
using WorkList = std::vector<Work>;

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_SHARD_WORK_H_
