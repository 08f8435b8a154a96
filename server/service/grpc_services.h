// The gRPC services of a server process: they hand over to the drivers, and decide nothing.
//
// Thread-safety: as gRPC calls them. Nothing blocks.
#ifndef LOCKSTEP_SERVER_SERVICE_GRPC_SERVICES_H_
#define LOCKSTEP_SERVER_SERVICE_GRPC_SERVICES_H_

#include <memory>

#include "proto/control.grpc.pb.h"
#include "proto/coordinator.grpc.pb.h"
#include "proto/shard.grpc.pb.h"
#include "server/service/coordinator_driver.h"
#include "server/service/forwarding.h"
#include "server/service/process_health.h"
#include "server/service/shard_driver.h"

namespace lockstep::service {

// The data path; both calls carry raw bytes, so that payloads are not copied. A Pull of another shard's blocks is
// passed on (forwarding.h).
class ShardService final
    : public v1::Shard::WithRawCallbackMethod_Exchange<v1::Shard::WithRawCallbackMethod_Pull<v1::Shard::Service>> {
 public:
  // One of `coordinator`, which is in this process, and `to_coordinator` is null.
  ShardService(CoordinatorDriver* coordinator, ShardDriver* shard, std::shared_ptr<KeptChannel> to_coordinator);

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Exchange(grpc::CallbackServerContext*) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Pull(grpc::CallbackServerContext*,
                                                   const grpc::ByteBuffer* request) override;

 private:
  CoordinatorDriver* const coordinator_;
  ShardDriver* const shard_;
  const std::shared_ptr<KeptChannel> to_coordinator_;
};

class CoordinatorService final : public v1::Coordinator::CallbackService {
 public:
  explicit CoordinatorService(CoordinatorDriver* driver) : driver_(driver) {}

  grpc::ServerBidiReactor<v1::WorkerMessage, v1::WorkerCommand>* Work(grpc::CallbackServerContext*) override;
  grpc::ServerBidiReactor<v1::ShardMessage, v1::ShardCommand>* Serve(grpc::CallbackServerContext*) override;

 private:
  CoordinatorDriver* const driver_;
};

// Answers from the coordinator in this process, or passes the question on to where the coordinator is.
class ControlService final : public v1::Control::CallbackService {
 public:
  // One of `coordinator`, which is in this process, and `to_coordinator` is null. `health` must outlive this.
  ControlService(CoordinatorDriver* coordinator, ShardDriver* shard, std::shared_ptr<KeptChannel> to_coordinator,
                 const ProcessHealth* health);

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context, const v1::StatusRequest* request,
                                      v1::Status* reply) override;
  grpc::ServerUnaryReactor* Evict(grpc::CallbackServerContext* context, const v1::EvictRequest* request,
                                  v1::EvictReply* reply) override;
  grpc::ServerUnaryReactor* TakeCheckpoint(grpc::CallbackServerContext* context, const v1::CheckpointRequest* request,
                                           v1::CheckpointReply* reply) override;
  grpc::ServerUnaryReactor* GetHealth(grpc::CallbackServerContext* context, const v1::HealthRequest* request,
                                      v1::HealthReply* reply) override;

 private:
  CoordinatorDriver* const coordinator_;
  ShardDriver* const shard_;
  const std::shared_ptr<KeptChannel> to_coordinator_;
  const ProcessHealth* const health_;
};

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_GRPC_SERVICES_H_
