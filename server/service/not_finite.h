// Who brought a NaN or an infinity: found when what was computed from the contributions is not finite.
//
// Thread-safety: functions and values.
#ifndef LOCKSTEP_SERVER_SERVICE_NOT_FINITE_H_
#define LOCKSTEP_SERVER_SERVICE_NOT_FINITE_H_

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "common/ids.h"
#include "google/protobuf/repeated_field.h"
#include "proto/coordinator.pb.h"
#include "server/compute/finite.h"
#include "server/compute/reduce.h"
#include "server/core/not_finite.h"

namespace lockstep::service {

// A finding within one block.
struct InBlock {
  core::FoundNotFinite::In in = core::FoundNotFinite::In::kContribution;
  Rank rank = Rank(0);         // kContribution only
  compute::NotFinite finding;  // index within the block
};

// Each of the contributions that count (weight above 0) and are not finite, by its first such element; in the order of
// ranks. Reads all of them: for when it is known that something is wrong.
std::vector<InBlock> FindCulprits(absl::Span<const compute::Contribution> contributions, size_t elements);

v1::NotFinite FindingToProto(const core::FoundNotFinite& found);
std::vector<core::FoundNotFinite> FindingsFromProto(const google::protobuf::RepeatedPtrField<v1::NotFinite>& proto);

}  // namespace lockstep::service

#endif  // LOCKSTEP_SERVER_SERVICE_NOT_FINITE_H_
