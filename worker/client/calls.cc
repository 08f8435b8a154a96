#include "worker/client/calls.h"

#include "absl/strings/str_cat.h"

namespace lockstep::client {

absl::Status CheckSizes(const std::string& what, const ModelSpec& model, const std::vector<size_t>& sizes) {
  if (sizes.size() != model.tensors.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": expected ", model.tensors.size(), " arrays, one per tensor, but got ", sizes.size()));
  }
  for (size_t t = 0; t < sizes.size(); ++t) {
    const auto expected = static_cast<size_t>(model.tensors[t].elements());
    if (sizes[t] == expected) continue;
    return absl::InvalidArgumentError(absl::StrCat(what, " of ", ToString(model.tensors[t]), ": expected ", expected,
                                                   " elements, but got ", sizes[t]));
  }
  return absl::OkStatus();
}

absl::Status Calls::CheckReady(bool leaving) const {
  if (fatal_) return *fatal_;
  if (leaving) return absl::FailedPreconditionError("this worker has left the run");
  if (UnderWay()) return absl::FailedPreconditionError("a call is under way; Wait for it first");
  return absl::OkStatus();
}

void Calls::Settle(absl::StatusOr<RoundResult> result, Todo& todo) {
  if (current_ == nullptr || current_->result) return;
  current_->result = std::move(result);
  if (current_->done != nullptr) todo.deliver = current_;
}

void Calls::Fail(const absl::Status& status, Todo& todo) {
  if (!fatal_) fatal_ = status;
  Settle(status, todo);
}

std::shared_ptr<Call> Calls::TakeLate(bool anyway) {
  if (late_ == nullptr || !(anyway || late_->memory->Close())) return nullptr;
  return std::exchange(late_, nullptr);
}

void Calls::Drop(const Call& call) {
  if (current_.get() == &call) current_.reset();
}

}  // namespace lockstep::client
