// The worker's streams: to the coordinator and to each shard. They hand over what comes, and decide nothing.
//
// Thread-safety: as wire::ClientStream. The owner must outlive them: it waits for every OnClosed.
#ifndef LOCKSTEP_WORKER_CLIENT_STREAMS_H_
#define LOCKSTEP_WORKER_CLIENT_STREAMS_H_

#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <string>

#include "common/ids.h"
#include "common/wire/channel.h"
#include "common/wire/client_stream.h"
#include "proto/coordinator.grpc.pb.h"

namespace lockstep::client {

class MembershipStream : public wire::ClientStream<v1::WorkerCommand, v1::WorkerMessage> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnCommand(const v1::WorkerCommand& command) = 0;
    virtual void OnMembershipClosed(const MembershipStream& stream, const grpc::Status& status) = 0;
  };

  MembershipStream(Owner* owner, const std::string& coordinator)
      : owner_(owner), stub_(v1::Coordinator::NewStub(wire::ControlChannel(coordinator))) {
    stub_->async()->Work(&context(), this);
  }

 private:
  void OnMessage(v1::WorkerCommand& command) override { owner_->OnCommand(command); }
  void OnClosed(const grpc::Status& status) override { owner_->OnMembershipClosed(*this, status); }

  Owner* const owner_;
  const std::unique_ptr<v1::Coordinator::Stub> stub_;
};

// One of the connections to a shard.
class DataStream : public wire::ClientStream<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnData(DataStream& stream, grpc::ByteBuffer& message) = 0;
    virtual void OnDataClosed(const DataStream& stream, const grpc::Status& status) = 0;
  };

  DataStream(Owner* owner, ShardIndex shard, uint32_t connection, const std::string& address)
      : owner_(owner), shard_(shard), connection_(connection), stub_(wire::DataChannel(address)) {
    stub_.PrepareBidiStreamingCall(&context(), "/lockstep.v1.Shard/Exchange", {}, this);
  }

  ShardIndex shard() const { return shard_; }
  uint32_t connection() const { return connection_; }

 private:
  void OnMessage(grpc::ByteBuffer& message) override { owner_->OnData(*this, message); }
  void OnClosed(const grpc::Status& status) override { owner_->OnDataClosed(*this, status); }

  Owner* const owner_;
  const ShardIndex shard_;
  const uint32_t connection_;
  grpc::GenericStub stub_;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_STREAMS_H_
