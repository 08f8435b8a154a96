// One version's blocks from one shard, straight into a reader's tensors.
#ifndef LOCKSTEP_WORKER_CLIENT_SHARD_PULL_H_
#define LOCKSTEP_WORKER_CLIENT_SHARD_PULL_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/ids.h"
#include "common/model.h"
#include "proto/shard.grpc.pb.h"

namespace lockstep::client {

// What is the same for all shards of one attempt. Outlives the ShardPulls.
struct PullPlan {
  std::string run_id;
  uint64_t version = 0;
  absl::Time deadline;  // of the wall clock, as gRPC counts
  const BlockLayout* layout = nullptr;
  // The shard that was asked first. It passes on what is meant for one whose address cannot be reached from here.
  std::string endpoint;
  absl::Span<std::vector<float>* const> tensors;  // by tensor, sized; shards write disjoint parts
};

// Thread-safety: Cancel from any thread; the rest from one.
class ShardPull {
 public:
  // `begins` is called once, when the first frame has come.
  ShardPull(const PullPlan& plan, ShardIndex shard, std::string address, std::function<void()> begins);

  // Blocks until all blocks and COMPLETE have come. Errors: those of Shard.Pull, DATA_LOSS for a damaged payload, and
  // INTERNAL when the shard breaks the protocol; each names the shard.
  absl::Status Run();
  // Ends Run soon, with CANCELLED.
  void Cancel() { context_.TryCancel(); }

  // After Run: the generation in which the shard completed the version.
  Generation completed_in() const { return completed_in_; }
  // After Run: the newest version of the shard, if it told.
  std::optional<uint64_t> newest() const;

 private:
  // To the shard itself, or to the endpoint if that does not succeed.
  std::shared_ptr<grpc::Channel> Connect();
  absl::Status ReadAll(grpc::ClientReader<v1::Frame>& reader);
  absl::Status Take(const v1::Frame& message);
  absl::Status TakeBlock(const v1::Frame& message);
  absl::Status TakeComplete(const v1::FrameHeader& header);
  absl::Status Explain(const absl::Status& status) const;

  const PullPlan& plan_;
  const ShardIndex shard_;
  const std::string address_;
  const std::function<void()> begins_;
  grpc::ClientContext context_;
  std::vector<bool> received_;  // by slot
  uint32_t missing_;
  bool passed_on_ = false;  // the endpoint is asked for this shard's blocks
  bool complete_ = false;
  Generation completed_in_;
};

}  // namespace lockstep::client

#endif  // LOCKSTEP_WORKER_CLIENT_SHARD_PULL_H_
