// Asks one shard the questions of `service Control`, with a deadline and with errors that say what
// was tried, for how long, and what to look at next.
//
// Thread-safety: calls may be made from several threads.
#ifndef LOCKSTEP_DEPLOY_CTL_CONTROL_CLIENT_H_
#define LOCKSTEP_DEPLOY_CTL_CONTROL_CLIENT_H_

#include <grpcpp/support/status.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "proto/control.grpc.pb.h"

namespace lockstep::ctl {

class ControlClient {
 public:
  // Connects when the first question is asked. `endpoint` is HOST:PORT.
  explicit ControlClient(std::string endpoint);

  // Each call blocks for at most `timeout`, and fails at once if nothing listens at the endpoint.
  // UNAVAILABLE: the endpoint cannot be reached, is no Lockstep shard, or cannot reach the
  // coordinator itself. Otherwise the codes that proto/control.proto lists.
  absl::StatusOr<v1::Status> GetStatus(uint32_t rounds, absl::Duration timeout);
  absl::StatusOr<v1::EvictReply> Evict(uint32_t rank, absl::Duration timeout);
  absl::StatusOr<v1::CheckpointReply> TakeCheckpoint(absl::Duration timeout);
  absl::StatusOr<v1::HealthReply> GetHealth(absl::Duration timeout);

 private:
  // The channel in use; or a new one, which looks the endpoint's name up at once.
  std::shared_ptr<v1::Control::Stub> Stub(bool again = false);
  template <typename Reply, typename Call>
  absl::StatusOr<Reply> AskShard(absl::Duration timeout, Call call);

  const std::string endpoint_;
  Mutex mutex_;
  std::shared_ptr<v1::Control::Stub> stub_ ABSL_GUARDED_BY(mutex_);
};

// What a failed call means for the person at the keyboard, `elapsed` after it was made. Pure.
absl::Status ExplainFailure(const std::string& endpoint, const grpc::Status& failure, absl::Duration elapsed);

}  // namespace lockstep::ctl

#endif  // LOCKSTEP_DEPLOY_CTL_CONTROL_CLIENT_H_
