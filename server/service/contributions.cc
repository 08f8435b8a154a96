#include "server/service/contributions.h"

#include <iterator>
#include <utility>

namespace lockstep::service {

void Contributions::Reset(uint32_t blocks, uint32_t ranks, uint32_t groups) {
  ranks_ = ranks;
  groups_ = groups;
  kept_.assign(size_t{blocks} * ranks, {});
  group_sums_.assign(size_t{blocks} * groups, nullptr);
  kept_bytes_ = 0;
  kept_of_.assign(ranks, 0);
}

void Contributions::Keep(Slot slot, Rank rank, wire::Frame& frame) {
  kept_bytes_ += frame.payload_bytes;
  kept_of_[rank.value()] += frame.payload_bytes;
  kept_[size_t{slot.value()} * ranks_ + rank.value()] = std::move(frame.payload);
}

void Contributions::Drop(Rank rank) {
  for (size_t at = rank.value(); at < kept_.size(); at += ranks_) {
    for (const grpc::Slice& slice : kept_[at]) kept_bytes_ -= slice.size();
    kept_[at].clear();
  }
}

std::vector<KeptPayload> Contributions::Take(Slot slot, absl::Span<const core::Weighted> contributors) {
  std::vector<KeptPayload> taken;
  for (const core::Weighted& contributor : contributors) {
    wire::Slices& payload = kept_[size_t{slot.value()} * ranks_ + contributor.rank.value()];
    if (payload.empty()) continue;
    for (const grpc::Slice& slice : payload) {
      kept_bytes_ -= slice.size();
      kept_of_[contributor.rank.value()] -= slice.size();
    }
    taken.push_back({contributor.rank, contributor.weight, std::move(payload)});
    payload.clear();
  }
  return taken;
}

void Contributions::KeepGroupSum(Slot slot, uint32_t group, storage::BufferRef sum) {
  group_sums_[size_t{slot.value()} * groups_ + group] = std::move(sum);
}

std::vector<storage::BufferRef> Contributions::TakeGroupSums(Slot slot) {
  const auto begin = group_sums_.begin() + static_cast<ptrdiff_t>(size_t{slot.value()} * groups_);
  return {std::make_move_iterator(begin), std::make_move_iterator(begin + static_cast<ptrdiff_t>(groups_))};
}

}  // namespace lockstep::service
