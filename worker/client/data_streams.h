// DataStreams: the connections to the shards, what goes over each, and how much of it at once.
//
//   OnAnnounce -> MakeStreams -> Greet, Contribute -> block comes back: NoteReturned, which sends the next -> OnClosed
//                      ^------------------------- 200 ms later, or with the next generation ---------------------+
//
// Credit. A contribution's blocks are queued at most announced-credit bytes (but at least one block) ahead of those
// that have come back as parameters over the same connection, so that no worker runs ahead of the others by more than
// that.
//
// Invariants:
//   1. The first message of every stream is ATTACH, since Greet comes in the section under the lock that makes it.
//   2. A new generation greets again on every stream; what waited for credit in the older one is not sent.
//   3. The layout and the number of connections never change after the first Announce; one that would change them ends
//      the worker.
//   4. Queued messages are made when their turn comes, and only while the call's memory may still be lent: after a
//      result none reads the caller's gradients.
//
// Owns: the newest stream of each connection (with others that flush it outside the lock), the layout, the newest
// Announce. Which frames are current is not decided here but in SessionCore, which asks for Greet and Contribute.
//
// Thread-safety: none; everything but layout() and CheckBlock is called under the driver's lock (Worker::Impl::mutex_).
// Nothing here blocks or sends: messages are queued, and Todo says which streams to open and to flush after the lock is
// let go.
#ifndef LOCKSTEP_WORKER_CLIENT_DATA_STREAMS_H_
#define LOCKSTEP_WORKER_CLIENT_DATA_STREAMS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/ids.h"
#include "common/model.h"
#include "common/wire/frame.h"
#include "proto/coordinator.pb.h"
#include "proto/shard.pb.h"
#include "worker/client/calls.h"
#include "worker/client/session.h"
#include "worker/client/streams.h"
#include "worker/client/todo.h"

namespace lockstep::client {

class DataStreams {
 public:
  using StreamList = std::vector<std::shared_ptr<DataStream>>;

  // ---- Questions ----
  // Of the newest Announce; 0 before the first.
  uint64_t generation() const { return announce_.generation(); }
  size_t shards() const { return connections_.size(); }
  // After the first Announce; may be read without the lock in the streams' callbacks.
  const BlockLayout& layout() const { return *layout_; }
  // What the session must know of the layout.
  SessionOptions SessionFor(Member me) const;
  // Whether `frame` is a whole block of the stream's shard: INVALID_ARGUMENT or DATA_LOSS. May be asked without the
  // lock, and takes as long as a checksum.
  absl::Status CheckBlock(const DataStream& stream, const wire::Frame& frame) const;
  // All streams, to be cancelled without the lock.
  StreamList Streams() const;

  // ---- Generations and connections ----
  // Takes over what the coordinator has announced; the first one lays `model` out. INTERNAL (the announcement makes no
  // sense, or contradicts an earlier one) or INVALID_ARGUMENT (the model cannot be laid out): the worker is over then,
  // and nothing has changed here.
  absl::Status OnAnnounce(const v1::Announce& announce, const std::optional<ModelSpec>& model);
  // What this worker says of itself when it greets.
  void Introduce(const std::string& run_id, Member me);
  // Makes a stream for each connection that has none and whose next attempt is due by `due`. Give SessionCore a
  // Connected for each before the lock is let go; open them afterwards.
  StreamList MakeStreams(DataStream::Owner* owner, absl::Time due);
  // True if it was the connection's stream: give SessionCore a Disconnected. False: a newer one has its place.
  bool OnClosed(const DataStream& stream, absl::Time now);
  // What the end of a stream means: the error that ends the worker, or OK, with a line in the log unless it is
  // `expected`.
  absl::Status Judge(const DataStream& stream, const absl::Status& status, bool expected, absl::Time now);

  // ---- Effects of SessionCore ----
  void Greet(const SendAttach& effect, Todo& todo);
  void Contribute(const SendContribution& effect, const Call& call, const SessionCore& session, Todo& todo);
  // A block has come back as parameters: its credit is free. `call` may be null.
  void NoteReturned(ShardIndex shard, const Block& block, const Call* call, const SessionCore& session, Todo& todo);

 private:
  struct Connection {
    std::shared_ptr<DataStream> stream;  // null: to be made at retry_at
    absl::Time retry_at = absl::InfinitePast();
    uint64_t attempts = 0;
    // The contribution's blocks that go over this connection.
    v1::FrameHeader header;       // what their headers have in common
    size_t next_slot = SIZE_MAX;  // the first that has not been queued
    absl::flat_hash_set<Slot> under_way;
    uint64_t under_way_bytes = 0;
  };

  // Queues as many blocks of the contribution as the credit allows.
  void Pump(ShardIndex shard, uint32_t connection, const Call& call, const SessionCore& session, Todo& todo);
  DataStream::Maker BlockMaker(BlockIndex index, v1::FrameHeader header, const Call& call) const;

  v1::Announce announce_;
  v1::FrameHeader introduction_;                      // what every greeting says
  std::unique_ptr<const BlockLayout> layout_;         // set once, before the first stream is made
  std::vector<std::vector<Connection>> connections_;  // [shard][connection]
  absl::Time quiet_until_ = absl::InfinitePast();     // of complaints
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_DATA_STREAMS_H_
