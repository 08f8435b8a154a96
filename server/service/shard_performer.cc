#include "server/service/shard_performer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "common/wire/frame.h"
#include "common/wire/status.h"
#include "server/service/shard_frames.h"
#include "spdlog/spdlog.h"

namespace lockstep::service {
namespace {

// A payload's slices as the reduction takes them.
using Views = absl::InlinedVector<compute::ByteSlice, 4>;

Views ViewsOf(const wire::Slices& payload) {
  Views views;
  for (const grpc::Slice& slice : payload) {
    views.push_back({reinterpret_cast<const std::byte*>(slice.begin()), slice.size()});
  }
  return views;
}

std::vector<compute::Contribution> ContributionsOf(const std::vector<KeptPayload>& payloads,
                                                   std::vector<Views>& views) {
  std::vector<compute::Contribution> contributions;
  views.reserve(payloads.size());
  for (const KeptPayload& kept : payloads) {
    views.push_back(ViewsOf(kept.payload));
    contributions.push_back({.rank = kept.rank.value(), .weight = kept.weight, .slices = views.back()});
  }
  return contributions;
}

// Why the block that came of `reduce` is not finite.
std::vector<InBlock> Explain(const ReducePayloads& reduce, const storage::RoundInput& input,
                             const storage::NotFinite& not_finite) {
  std::vector<compute::Contribution> contributions = input.contributions;
  if (reduce.round == Round(0)) contributions.at(0).weight = 1;  // initial values have none
  std::vector<InBlock> found = FindCulprits(contributions, reduce.store->elements(reduce.slot));
  if (!found.empty()) return found;
  const bool sum = not_finite.in == storage::NotFinite::In::kSum;
  return {{.in = sum ? core::FoundNotFinite::In::kSum : core::FoundNotFinite::In::kUpdate,
           .rank = Rank(0),
           .finding = not_finite.first}};
}

}  // namespace

ShardPerformer::ShardPerformer(ShardIndex shard, bool checksums, std::function<void(v1::ShardMessage)> answer,
                               ShardEvents* events)
    : shard_(shard), checksums_(checksums), answer_(std::move(answer)), events_(events) {}

void ShardPerformer::Perform(WorkList work) const {
  for (Work& planned : work) {
    Work item = std::move(planned);
    std::visit([this](auto& i) { Do(i); }, item);
  }
}

// Who contributes to round v has read version v - 1: it has none of that to come any more, give or take the moment in
// which the end of a write is on its way here. Whoever still has version v - 2 to come reads too slowly or not at all,
// and its stream would hold on to one version after the other. It may connect again, and gets the newest.
void ShardPerformer::Do(SendFrame& send) const {
  const uint64_t oldest = send.stream->Send(*send.message, send.version.value());
  if (oldest + 1 >= send.version.value()) return;
  EndStream end{send.stream, absl::UnavailableError(absl::StrCat(
                                 "this connection does not take what it is sent: version ", send.version.value(),
                                 " is being sent, and version ", oldest, " has not been taken yet"))};
  Do(end);
}

void ShardPerformer::Do(EndStream& end) const {
  const bool stopping = absl::IsUnavailable(end.status);  // nobody's fault: what was sent before is still good
  if (!stopping) spdlog::warn("shard {}: refuses a connection: {}", shard_.value(), std::string(end.status.message()));
  end.stream->Close(wire::ToGrpc(end.status), /*flush=*/stopping);
}

void ShardPerformer::Do(AnswerCoordinator& answer) const { answer_(std::move(answer.message)); }

void ShardPerformer::Do(ServeReader& serve) const { serve.stream->Serve(std::move(serve.frames)); }

void ShardPerformer::Do(RefuseReader& refuse) const { refuse.stream->Refuse(refuse.status, refuse.newest); }

void ShardPerformer::Do(SumPayloads& sum) const {
  std::vector<Views> views;
  const std::vector<compute::Contribution> group = ContributionsOf(sum.payloads, views);
  const bool present = std::any_of(group.begin(), group.end(), [](const auto& c) { return c.weight > 0; });
  if (!present) return events_->OnGroupSummed(sum.slot, sum.group, nullptr);
  storage::GroupSum result = sum.store->SumGroup(sum.slot, group, sum.check_finite);
  if (!result.finite) {
    std::vector<InBlock> found = FindCulprits(group, sum.store->elements(sum.slot));
    // A sum that overflows: nobody is to blame, and the whole sum is looked at when all groups are there.
    if (!found.empty()) return events_->OnNotFinite(sum.slot, std::move(found));
  }
  events_->OnGroupSummed(sum.slot, sum.group, std::move(result.sum));
}

void ShardPerformer::Do(ReducePayloads& reduce) const {
  std::vector<Views> views;
  storage::RoundInput input{.contributions = ContributionsOf(reduce.payloads, views),
                            .group_sums = {},
                            .grouped = reduce.grouped,
                            .total_weight = reduce.total_weight,
                            .check_finite = reduce.check_finite};
  for (const storage::BufferRef& sum : reduce.group_sums) {
    input.group_sums.push_back(sum == nullptr ? nullptr : sum->values().data());
  }
  storage::Made made = reduce.store->Compute(reduce.slot, reduce.round, input);
  if (made.not_finite) return events_->OnNotFinite(reduce.slot, Explain(reduce, input, *made.not_finite));
  if (checksums_ && !made.block->checksum) {
    const grpc::Slice slice = SliceOf(made.block);
    made.block->checksum = wire::Checksum({&slice, 1});
  }
  reduce.payloads.clear();
  events_->OnReduced(reduce.slot, std::move(made));
}

}  // namespace lockstep::service
