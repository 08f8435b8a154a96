#ifndef LOCKSTEP_SERVER_COMPUTE_REDUCE_H_
#define LOCKSTEP_SERVER_COMPUTE_REDUCE_H_

// The reduction: the weighted sum of the ranks' contributions, straight from the bytes that came
// off the wire, in an order that never changes.
//
//   ranks      0 .. 7    8 .. 15   ...   56 .. 63     64 .. 71   ...
//                 \         |               /             |
//   groups        0         1     ...      7              8      ...
//                     \     |      /                       \     |
//                           0                               1  ...
//
// A group's sum starts with w*g of its first rank that is present; then acc = acc + w*g in the
// order of the ranks. The sums of groups 8j..8j+7 are added in order, then these sums, and so on
// until one is left. What is absent is skipped: it is not added as a zero.
//
// 1. Every element is computed by plain IEEE fp32 multiplies and adds in this order, never FMA.
// 2. So its bits depend on the ranks, weights and values alone: not on arrival order, on the
//    boundaries and alignment of slices, on the instruction set, nor on how the elements are cut
//    into calls. The one exception are the payload bits of a NaN made from two NaNs.
// 3. A contribution of weight 0 counts as absent. It may have no slices.
//
// The error grows with the logarithm of the number of ranks, and the up to 8 inputs of a group are
// read in one fused pass.
//
// Thread-safety: the functions are pure; a cursor belongs to one thread at a time.
// Errors: none from the environment. A caller's bug (ranks out of order, too few bytes) aborts.

#include <cstddef>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "server/compute/radix_tree.h"
#include "server/compute/slice_reader.h"

namespace lockstep::compute {

// How many children a node of the tree has: ranks in a group, groups in a group of groups.
inline constexpr uint32_t kRadix = 8;

// One rank's values: little-endian fp32 in consecutive slices. Boundaries may lie anywhere, inside
// of a value too. Refers to the slices and their bytes, and owns nothing.
struct Contribution {
  uint32_t rank = 0;
  float weight = 0;
  absl::Span<const ByteSlice> slices;
};

// The weighted sum, a stretch at a time: for a caller that wants each stretch while it is still in
// the cache. Concatenating what Next writes gives what WeightedSum writes, bit for bit.
//
// Example:
//   WeightedSumCursor cursor(contributions);
//   for (absl::Span<float> stretch : stretches) {
//     cursor.Next(stretch);
//     DivideBy(total_weight, stretch);
//   }
//
// Ownership: refers to the slices and their bytes, which must outlive it; the array of
// contributions may go once the constructor returns.
class WeightedSumCursor {
 public:
  // Starts before the first element. `contributions` are strictly increasing in rank. Takes no
  // memory for up to 8 ranks of one group; later calls never take any.
  explicit WeightedSumCursor(absl::Span<const Contribution> contributions);

  // Writes the next sum.size() elements and moves past them. Each contribution that counts must
  // hold that many more. `sum` must not overlap them.
  void Next(absl::Span<float> sum);

 private:
  struct Input {
    internal::SliceReader reader;
    float weight;
  };

  static internal::RadixTree::Indices GroupsOf(absl::Span<const Contribution> contributions);
  static void SumGroup(absl::Span<Input> group, float* sum, size_t size);
  static size_t SumStretch(absl::Span<Input> group, float* sum, size_t limit);
  absl::Span<Input> InputsOf(size_t group);

  internal::RadixTree tree_;
  absl::InlinedVector<Input, kRadix> inputs_;   // in rank order, without those of weight 0
  absl::InlinedVector<size_t, 2> group_begin_;  // where each group starts in inputs_; then the end
};

// Writes the sum over `contributions` (strictly increasing in rank) of their first sum.size()
// elements. All +0 if none counts. `sum` must not overlap the contributions.
void WeightedSum(absl::Span<const Contribution> contributions, absl::Span<float> sum);

// Like WeightedSum, for contributions that are all of one group: rank / kRadix is the same. Lets a
// full group be summed, and its buffers freed, while other groups still wait for stragglers.
void GroupSum(absl::Span<const Contribution> group, absl::Span<float> sum);

// Writes the sum of the groups' sums: after GroupSum of each group the same bits as WeightedSum of
// all contributions. group_sums[i] points at the sum.size() elements of group i's sum, or is null
// if the whole group is absent. (An absent group must be null, not zeros: they might turn a -0
// into +0.) `sum` must not overlap any of them.
void CombineGroups(absl::Span<const float* const> group_sums, absl::Span<float> sum);

// Divides each value by `total_weight`, in place: turns the weighted sum into the weighted mean.
// A total weight of 0 gives NaN, as IEEE says; a round without any weight is the caller's to
// handle.
void DivideBy(float total_weight, absl::Span<float> values);

}  // namespace lockstep::compute

#endif  // LOCKSTEP_SERVER_COMPUTE_REDUCE_H_
