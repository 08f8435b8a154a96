// How fast contributions are summed, in bytes read from them per second:
//
//   bazel run //tests/server/compute:reduce_benchmark
//
// Round is what a shard does with a block, with and without looking for NaN and Inf.
//
// FusedSum is WeightedSum, in one pass. CopyThenAdd is what servers do that add contributions as
// they arrive: copy the first, then add one after the other. Both walk over kRounds sets of inputs,
// so that these come from memory as they do in a server, not from the cache.

#include <benchmark/benchmark.h>

#include <array>
#include <cstring>
#include <vector>

#include "server/compute/finite.h"
#include "server/compute/optimizer.h"
#include "server/compute/reduce.h"

namespace lockstep::compute {
namespace {

constexpr size_t kBlock = 128 * 1024;  // floats
constexpr size_t kRounds = 32;         // sets of inputs; 8 inputs of 512 KiB each are 128 MiB

using Values = std::vector<float>;

std::vector<Values> MakeInputs(size_t count) { return std::vector<Values>(count * kRounds, Values(kBlock, 0.5f)); }

// Slices of 64 KiB less one byte, so that loads are unaligned and some values straddle slices.
std::vector<ByteSlice> MakeSlices(const Values& values) {
  constexpr size_t kLength = 64 * 1024 - 1;
  const ByteSlice all(reinterpret_cast<const std::byte*>(values.data()), kBlock * sizeof(float));
  std::vector<ByteSlice> slices;
  for (size_t begin = 0; begin < all.size(); begin += kLength) {
    slices.push_back(all.subspan(begin, kLength));
  }
  return slices;
}

void SetBytes(benchmark::State& state, size_t count) {
  state.SetBytesProcessed(state.iterations() * count * kBlock * sizeof(float));
}

void FusedSum(benchmark::State& state) {
  const size_t count = state.range(0);
  const std::vector<Values> inputs = MakeInputs(count);
  std::vector<std::vector<ByteSlice>> slices;
  for (const Values& input : inputs) {
    slices.push_back(MakeSlices(input));
  }
  Values sum(kBlock);
  std::vector<Contribution> contributions(count);
  size_t next = 0;
  for (auto _ : state) {
    for (uint32_t rank = 0; rank < count; ++rank) {
      contributions[rank] = {rank, 3, slices[next++ % slices.size()]};
    }
    WeightedSum(contributions, absl::MakeSpan(sum));
    benchmark::DoNotOptimize(sum.data());
  }
  SetBytes(state, count);
}

// The baseline, vectorized by the compiler. It is let off the weights.
__attribute__((optimize("O3"))) void Add(const float* __restrict addend, float* __restrict sum) {
  for (size_t i = 0; i < kBlock; ++i) {
    sum[i] += addend[i];
  }
}

void CopyThenAdd(benchmark::State& state) {
  const size_t count = state.range(0);
  const std::vector<Values> inputs = MakeInputs(count);
  Values sum(kBlock);
  size_t next = 0;
  for (auto _ : state) {
    std::memcpy(sum.data(), inputs[next++ % inputs.size()].data(), kBlock * sizeof(float));
    for (size_t i = 1; i < count; ++i) {
      Add(inputs[next++ % inputs.size()].data(), sum.data());
    }
    benchmark::DoNotOptimize(sum.data());
  }
  SetBytes(state, count);
}

// A round as a shard computes it, a stretch at a time: mean, SGD, and (range 1) both checked for NaN and Inf.
void Round(benchmark::State& state) {
  const size_t count = state.range(0);
  const bool check = state.range(1) != 0;
  const std::vector<Values> inputs = MakeInputs(count);
  std::vector<std::vector<ByteSlice>> slices;
  for (const Values& input : inputs) {
    slices.push_back(MakeSlices(input));
  }
  Values before(kBlock, 1);
  Values after(kBlock);
  constexpr size_t kStretch = 2048;
  std::array<float, kStretch> gradient;
  const OptimizerStep step = MakeStep({}, 0.1, 1);
  std::vector<Contribution> contributions(count);
  size_t next = 0;
  for (auto _ : state) {
    for (uint32_t rank = 0; rank < count; ++rank) {
      contributions[rank] = {rank, 3, slices[next++ % slices.size()]};
    }
    WeightedSumCursor cursor(contributions);
    bool finite = true;
    for (size_t offset = 0; offset < kBlock; offset += kStretch) {
      cursor.Next(absl::MakeSpan(gradient));
      DivideBy(12, absl::MakeSpan(gradient));
      if (check) finite &= AllFinite(gradient);
      const absl::Span<float> published = absl::MakeSpan(after).subspan(offset, kStretch);
      Publish(step, absl::MakeConstSpan(before).subspan(offset, kStretch), {}, absl::MakeSpan(gradient), published);
      if (check) finite &= AllFinite(published);
    }
    benchmark::DoNotOptimize(finite);
    benchmark::DoNotOptimize(after.data());
  }
  SetBytes(state, count);
}

BENCHMARK(Round)->ArgNames({"ranks", "check"})->ArgsProduct({{4, 8}, {0, 1}});
BENCHMARK(FusedSum)->Arg(4)->Arg(8);
BENCHMARK(CopyThenAdd)->Arg(4)->Arg(8);

}  // namespace
}  // namespace lockstep::compute

BENCHMARK_MAIN();
