// The worker's streams: to the coordinator and to each shard. They hand over what comes, and decide nothing.
//
//   made (under the driver's lock; others may queue messages now) -> Open (without it) -> as wire::ClientStream
//
// Making a stream calls nothing of gRPC's, and whoever makes one queues its greeting in the same section under the
// lock. So the greeting is the first message, however early others send, and however early an answer comes.
//
// Thread-safety: as wire::ClientStream, from the moment that it is made. The owner must outlive them: it waits for
// every OnClosed.
#ifndef LOCKSTEP_WORKER_CLIENT_STREAMS_H_
#define LOCKSTEP_WORKER_CLIENT_STREAMS_H_

#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/ids.h"
#include "common/wire/channel.h"
#include "common/wire/client_stream.h"
#include "proto/coordinator.grpc.pb.h"

namespace lockstep::client {

// A ClientStream that takes messages before it is opened. Cancel works before Open, too: the call then ends as soon as
// it begins.
template <typename In, typename Out>
class WorkerStream : public wire::ClientStream<In, Out> {
 public:
  // Connects, and writes what was queued until now. Call once, without locks. Does not block. The stream's first
  // callback may come before this returns.
  void Open() {
    Bind();
    Base::Start();
    open_ = true;
    Base::Flush();  // what was queued before open_ was seen
  }

  // As those of ClientStream; before Open they only queue.
  void Send(Out message) {
    Base::Enqueue([held = std::make_shared<Out>(std::move(message))] { return std::make_optional(std::move(*held)); });
    Flush();
  }
  void Flush() {
    if (open_) Base::Flush();
  }

 private:
  using Base = wire::ClientStream<In, Out>;
  using Base::Start;

  // Makes the channel and prepares the call on context().
  virtual void Bind() = 0;

  std::atomic<bool> open_ = false;
};

class MembershipStream : public WorkerStream<v1::WorkerCommand, v1::WorkerMessage> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnCommand(const v1::WorkerCommand& command) = 0;
    virtual void OnMembershipClosed(const MembershipStream& stream, const grpc::Status& status) = 0;
  };

  MembershipStream(Owner* owner, std::string coordinator) : owner_(owner), coordinator_(std::move(coordinator)) {}

 private:
  void Bind() override {
    stub_ = v1::Coordinator::NewStub(wire::ControlChannel(coordinator_));
    stub_->async()->Work(&context(), this);
  }
  void OnMessage(v1::WorkerCommand& command) override { owner_->OnCommand(command); }
  void OnClosed(const grpc::Status& status) override { owner_->OnMembershipClosed(*this, status); }

  Owner* const owner_;
  const std::string coordinator_;
  std::unique_ptr<v1::Coordinator::Stub> stub_;
};

// One of the connections to a shard.
class DataStream : public WorkerStream<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnData(DataStream& stream, grpc::ByteBuffer& message) = 0;
    virtual void OnDataClosed(const DataStream& stream, const grpc::Status& status) = 0;
  };

  DataStream(Owner* owner, ShardIndex shard, uint32_t connection, std::string address)
      : owner_(owner), shard_(shard), connection_(connection), address_(std::move(address)) {}

  ShardIndex shard() const { return shard_; }
  uint32_t connection() const { return connection_; }

 private:
  void Bind() override {
    stub_.emplace(wire::DataChannel(address_));
    stub_->PrepareBidiStreamingCall(&context(), "/lockstep.v1.Shard/Exchange", {}, this);
  }
  void OnMessage(grpc::ByteBuffer& message) override { owner_->OnData(*this, message); }
  void OnClosed(const grpc::Status& status) override { owner_->OnDataClosed(*this, status); }

  Owner* const owner_;
  const ShardIndex shard_;
  const uint32_t connection_;
  const std::string address_;
  std::optional<grpc::GenericStub> stub_;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_STREAMS_H_
