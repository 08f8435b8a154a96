#include "worker/client/worker.h"

#include <utility>

#include "worker/client/worker_impl.h"

namespace lockstep {

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::~Worker() = default;

absl::StatusOr<std::unique_ptr<Worker>> Worker::Join(JoinOptions options) {
  if (options.coordinator.empty()) return absl::InvalidArgumentError("Join: the coordinator's HOST:PORT is missing");
  if (options.name.empty()) return absl::InvalidArgumentError("Join: the worker's name is missing");
  auto impl = std::make_unique<Impl>(std::move(options));
  if (absl::Status status = impl->Join(); !status.ok()) return status;
  return std::unique_ptr<Worker>(new Worker(std::move(impl)));
}

Rank Worker::rank() const { return impl_->rank(); }
uint32_t Worker::workers() const { return impl_->workers(); }
uint32_t Worker::shards() const { return impl_->shards(); }
const std::string& Worker::run_id() const { return impl_->run_id(); }
uint64_t Worker::generation() const { return impl_->generation(); }

absl::StatusOr<RoundResult> Worker::Define(const ModelSpec& model, ParameterSpans parameters, absl::Duration timeout) {
  if (absl::Status status = impl_->StartDefine(model, parameters); !status.ok()) return status;
  return impl_->Wait(timeout);
}

absl::StatusOr<RoundResult> Worker::PushPull(GradientSpans gradients, float weight, ParameterSpans parameters,
                                             absl::Duration timeout) {
  absl::Status status = impl_->StartPushPull(gradients, weight, parameters, nullptr);
  if (!status.ok()) return status;
  return impl_->Wait(timeout);
}

absl::Status Worker::PushPullAsync(GradientSpans gradients, float weight, ParameterSpans parameters,
                                   std::function<void(absl::StatusOr<RoundResult>)> done) {
  return impl_->StartPushPull(gradients, weight, parameters, std::move(done));
}

absl::StatusOr<RoundResult> Worker::Wait(absl::Duration timeout) { return impl_->Wait(timeout); }

absl::Status Worker::Leave(absl::Duration timeout) { return impl_->Leave(timeout); }

}  // namespace lockstep
