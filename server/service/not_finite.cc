#include "server/service/not_finite.h"

#include <optional>

namespace lockstep::service {

std::vector<InBlock> FindCulprits(absl::Span<const compute::Contribution> contributions, size_t elements) {
  std::vector<InBlock> culprits;
  for (const compute::Contribution& contribution : contributions) {
    if (contribution.weight == 0) continue;
    const std::optional<compute::NotFinite> finding = compute::FirstNotFinite(contribution.slices, elements);
    if (finding) culprits.push_back({.rank = Rank(contribution.rank), .finding = *finding});
  }
  return culprits;
}

v1::NotFinite FindingToProto(const core::FoundNotFinite& found) {
  using In = core::FoundNotFinite::In;
  v1::NotFinite proto;
  proto.set_in(found.in == In::kContribution ? v1::NotFinite::CONTRIBUTION
               : found.in == In::kSum        ? v1::NotFinite::SUM
                                             : v1::NotFinite::UPDATE);
  proto.set_round(found.round.value());
  proto.set_rank(found.rank.value());
  proto.set_tensor(found.tensor);
  proto.set_index(found.index);
  proto.set_value(found.value);
  return proto;
}

std::vector<core::FoundNotFinite> FindingsFromProto(const google::protobuf::RepeatedPtrField<v1::NotFinite>& proto) {
  using In = core::FoundNotFinite::In;
  std::vector<core::FoundNotFinite> all;
  for (const v1::NotFinite& found : proto) {
    all.push_back({.in = found.in() == v1::NotFinite::CONTRIBUTION ? In::kContribution
                         : found.in() == v1::NotFinite::SUM        ? In::kSum
                                                                   : In::kUpdate,
                   .round = Round(found.round()),
                   .rank = Rank(found.rank()),
                   .tensor = found.tensor(),
                   .index = found.index(),
                   .value = found.value()});
  }
  return all;
}

}  // namespace lockstep::service
