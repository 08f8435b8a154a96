#include "server/compute/reduce.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include "server/compute/reduce_kernels.h"
#include "server/compute/require.h"

namespace lockstep::compute {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire's fp32 is read in place");
static_assert(kRadix == internal::kMaxFusedInputs, "a group is read in one pass");

bool Counts(const Contribution& contribution) { return contribution.weight != 0; }

uint32_t GroupOf(const Contribution& contribution) { return contribution.rank / kRadix; }

bool RanksIncrease(absl::Span<const Contribution> contributions) {
  return std::adjacent_find(contributions.begin(), contributions.end(),
                            [](const Contribution& left, const Contribution& right) {
                              return left.rank >= right.rank;
                            }) == contributions.end();
}

}  // namespace

WeightedSumCursor::WeightedSumCursor(absl::Span<const Contribution> contributions) : tree_(GroupsOf(contributions)) {
  const Contribution* previous = nullptr;
  for (const Contribution& contribution : contributions) {
    if (!Counts(contribution)) {
      continue;
    }
    if (previous == nullptr || GroupOf(*previous) != GroupOf(contribution)) {
      group_begin_.push_back(inputs_.size());
    }
    inputs_.push_back(Input{internal::SliceReader(contribution.slices), contribution.weight});
    previous = &contribution;
  }
  group_begin_.push_back(inputs_.size());
}

internal::RadixTree::Indices WeightedSumCursor::GroupsOf(absl::Span<const Contribution> contributions) {
  internal::Require(RanksIncrease(contributions), "contributions must be sorted by rank");
  internal::RadixTree::Indices groups;
  for (const Contribution& contribution : contributions) {
    if (Counts(contribution) && (groups.empty() || groups.back() != GroupOf(contribution))) {
      groups.push_back(GroupOf(contribution));
    }
  }
  return groups;
}

void WeightedSumCursor::Next(absl::Span<float> sum) {
  tree_.Sum([this](size_t group, float* out, size_t size) { SumGroup(InputsOf(group), out, size); }, sum.data(),
            sum.size());
}

absl::Span<WeightedSumCursor::Input> WeightedSumCursor::InputsOf(size_t group) {
  const size_t begin = group_begin_[group];
  return absl::MakeSpan(inputs_).subspan(begin, group_begin_[group + 1] - begin);
}

void WeightedSumCursor::SumGroup(absl::Span<Input> group, float* sum, size_t size) {
  for (size_t done = 0; done < size;) {
    done += SumStretch(group, sum + done, size - done);
  }
}

// Sums up to where the first input's slice ends, or one value if it straddles slices in any input.
size_t WeightedSumCursor::SumStretch(absl::Span<Input> group, float* sum, size_t limit) {
  size_t stretch = limit;
  for (Input& input : group) {
    stretch = std::min(stretch, input.reader.WholeValues());
  }
  stretch = std::max<size_t>(stretch, 1);

  std::array<internal::SliceReader::Bounce, kRadix> bounces;
  std::array<const std::byte*, kRadix> addresses;
  std::array<float, kRadix> weights;
  for (size_t i = 0; i < group.size(); ++i) {
    addresses[i] = group[i].reader.Take(stretch, bounces[i]);
    weights[i] = group[i].weight;
  }
  internal::SumScaled(addresses.data(), weights.data(), group.size(), sum, stretch);
  return stretch;
}

void WeightedSum(absl::Span<const Contribution> contributions, absl::Span<float> sum) {
  WeightedSumCursor(contributions).Next(sum);
}

void GroupSum(absl::Span<const Contribution> group, absl::Span<float> sum) {
  internal::Require(group.empty() || GroupOf(group.front()) == GroupOf(group.back()),
                    "the contributions of a group must have the same rank / 8");
  WeightedSum(group, sum);
}

void CombineGroups(absl::Span<const float* const> group_sums, absl::Span<float> sum) {
  internal::RadixTree::Indices present;
  for (uint32_t group = 0; group < group_sums.size(); ++group) {
    if (group_sums[group] != nullptr) {
      present.push_back(group);
    }
  }
  absl::InlinedVector<const float*, kRadix> next;
  for (const uint32_t group : present) {
    next.push_back(group_sums[group]);
  }
  internal::RadixTree tree(std::move(present));
  tree.Sum(
      [&next](size_t position, float* out, size_t size) {
        std::copy_n(next[position], size, out);
        next[position] += size;
      },
      sum.data(), sum.size());
}

void DivideBy(float total_weight, absl::Span<float> values) {
  internal::DivideAll(total_weight, values.data(), values.size());
}

}  // namespace lockstep::compute
