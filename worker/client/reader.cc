#include "worker/client/reader.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/convert.h"
#include "common/model.h"
#include "common/wire/channel.h"
#include "common/wire/status.h"
#include "proto/control.grpc.pb.h"
#include "worker/client/pull_group.h"
#include "worker/client/version_choice.h"

namespace lockstep {
namespace {

constexpr absl::Duration kRetryPause = absl::Milliseconds(50);
// How long a version that is ahead of training may stay away before another one is asked for.
constexpr absl::Duration kPatience = absl::Seconds(2);

Snapshot EmptySnapshot(const ModelSpec& model) {
  Snapshot snapshot;
  for (const TensorSpec& tensor : model.tensors) {
    snapshot.tensors.push_back({tensor.name, tensor.shape, std::vector<float>(static_cast<size_t>(tensor.elements()))});
  }
  return snapshot;
}

std::vector<std::string> AddressesOf(const v1::Status& status) {
  std::vector<std::string> addresses;
  for (const v1::ShardStatus& shard : status.shards()) addresses.push_back(shard.address());
  return addresses;
}

void Look(const v1::Status& status, client::VersionChoice& choice) {
  uint64_t oldest = UINT64_MAX, newest = 0;
  for (const v1::ShardStatus& shard : status.shards()) {
    oldest = std::min<uint64_t>(oldest, shard.version());
    newest = std::max<uint64_t>(newest, shard.version());
  }
  choice.Seen(oldest, newest);
}

void Learn(const absl::Status& problem, client::VersionChoice& choice) {
  if (absl::IsOutOfRange(problem)) choice.TooLate();
  if (absl::IsDeadlineExceeded(problem)) choice.NeverCame();
}

// May another attempt, a little later or with another version, succeed?
bool MayPass(const absl::Status& problem, bool named) {
  if (absl::IsOutOfRange(problem) || absl::IsDeadlineExceeded(problem)) return !named;
  return absl::IsUnavailable(problem) || absl::IsResourceExhausted(problem) || absl::IsDataLoss(problem);
}

}  // namespace

class Reader::Impl {
 public:
  explicit Impl(const std::string& endpoint) : endpoint_(endpoint) {}

  absl::Status Open(absl::Duration timeout) {
    absl::StatusOr<v1::Status> status = Ask(absl::Now() + timeout);
    return status.ok() ? TakeModel(*status) : status.status();
  }

  absl::StatusOr<Snapshot> Pull(std::optional<uint64_t> version, absl::Duration timeout) {
    const absl::Time deadline = absl::Now() + timeout;
    Snapshot snapshot = EmptySnapshot(model_);
    client::VersionChoice choice;
    absl::Status problem;
    while (absl::Now() < deadline) {
      problem = TryOnce(version, deadline, choice, snapshot);
      if (problem.ok()) return snapshot;
      if (!version) Learn(problem, choice);
      if (!MayPass(problem, version.has_value())) return problem;
      if (!absl::IsOutOfRange(problem)) absl::SleepFor(kRetryPause);
    }
    return absl::DeadlineExceededError(
        absl::StrCat("gave up after ", absl::FormatDuration(timeout), "; last: ", problem.message()));
  }

 private:
  // The run's status. Waits until the endpoint can be reached.
  absl::StatusOr<v1::Status> Ask(absl::Time deadline) {
    v1::Status status;
    grpc::Status asked;
    do {
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(deadline));
      context.set_wait_for_ready(true);
      const auto control = v1::Control::NewStub(wire::ControlChannel(endpoint_));  // looks the name up again
      asked = control->GetStatus(&context, v1::StatusRequest(), &status);
      if (asked.ok()) return status;
      absl::SleepFor(kRetryPause);
    } while (asked.error_code() == grpc::StatusCode::UNAVAILABLE && absl::Now() < deadline);
    return absl::UnavailableError(absl::StrCat("no run's status from ", endpoint_, ": ", asked.error_message(),
                                               ". Is it the address of a Lockstep shard, and is the shard running?"));
  }

  absl::Status TakeModel(const v1::Status& status) {
    if (status.model().tensors().empty() || status.block_elements() == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("run ", status.run_id(), " has no model yet: ", status.summary()));
    }
    absl::StatusOr<ModelSpec> model = FromProto(status.model());
    if (!model.ok()) return model.status();
    absl::StatusOr<BlockLayout> layout = BlockLayout::Create(*model, static_cast<uint32_t>(status.shards_size()),
                                                             static_cast<int64_t>(status.block_elements()));
    if (!layout.ok()) return layout.status();
    run_id_ = status.run_id();
    model_ = *std::move(model);
    layout_.emplace(*std::move(layout));
    return absl::OkStatus();
  }

  absl::Status CheckRun(const v1::Status& status) const {
    if (status.run_id() == run_id_ && static_cast<uint32_t>(status.shards_size()) == layout_->shards()) {
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(absl::StrCat("the run at ", endpoint_, " was ", run_id_, " and is now ",
                                                      status.run_id(), ": open the reader again"));
  }

  absl::Status TryOnce(std::optional<uint64_t> version, absl::Time deadline, client::VersionChoice& choice,
                       Snapshot& snapshot) {
    const absl::StatusOr<v1::Status> status = Ask(deadline);
    if (!status.ok()) return status.status();
    if (absl::Status same = CheckRun(*status); !same.ok()) return same;
    Look(*status, choice);
    snapshot.version = version.value_or(choice.version());
    std::vector<std::vector<float>*> tensors;
    for (NamedTensor& tensor : snapshot.tensors) tensors.push_back(&tensor.values);
    const client::PullPlan plan{.run_id = run_id_,
                                .version = snapshot.version,
                                .deadline = deadline,
                                .layout = &*layout_,
                                .endpoint = endpoint_,
                                .tensors = tensors};
    client::PullGroup group(plan, AddressesOf(*status));
    const absl::Status pulled = group.Run(version ? deadline - absl::Now() : kPatience);
    choice.Told(group.newest());
    return pulled;
  }

  const std::string endpoint_;
  std::string run_id_;
  ModelSpec model_;
  std::optional<BlockLayout> layout_;
};

Reader::Reader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reader::~Reader() = default;

absl::StatusOr<std::unique_ptr<Reader>> Reader::Open(const std::string& endpoint, absl::Duration timeout) {
  auto impl = std::make_unique<Impl>(endpoint);
  if (absl::Status status = impl->Open(timeout); !status.ok()) return status;
  return std::unique_ptr<Reader>(new Reader(std::move(impl)));
}

absl::StatusOr<Snapshot> Reader::Pull(std::optional<uint64_t> version, absl::Duration timeout) {
  return impl_->Pull(version, timeout);
}

}  // namespace lockstep
