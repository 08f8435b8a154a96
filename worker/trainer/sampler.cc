#include "worker/trainer/sampler.h"

#include <algorithm>

#include "worker/trainer/permutation.h"
#include "worker/trainer/require.h"

namespace lockstep::trainer {
namespace {

uint64_t GlobalBatch(const SamplerOptions& options) {
  Require(options.workers > 0, "sampler needs at least one worker");
  Require(options.batch > 0, "sampler needs a batch of at least one sample");
  Require(options.samples > 0, "sampler needs at least one sample");
  return uint64_t{options.workers} * options.batch;
}

// Positions in an epoch's order.
struct Positions {
  uint64_t begin;
  uint64_t end;
};

Positions PositionsOf(const SamplerOptions& options, uint64_t round, uint32_t rank) {
  Require(rank < options.workers, "sampler asked for a rank that is not below `workers`");
  Require(round > 0, "rounds are counted from 1");
  const uint64_t step = (round - 1) % RoundsPerEpoch(options);
  const uint64_t begin = step * GlobalBatch(options) + uint64_t{rank} * options.batch;
  return {std::min<uint64_t>(begin, options.samples), std::min<uint64_t>(begin + options.batch, options.samples)};
}

}  // namespace

uint64_t RoundsPerEpoch(const SamplerOptions& options) {
  const uint64_t global_batch = GlobalBatch(options);
  return options.samples / global_batch + (options.samples % global_batch != 0);
}

uint64_t EpochOfRound(const SamplerOptions& options, uint64_t round) {
  Require(round > 0, "rounds are counted from 1");
  return (round - 1) / RoundsPerEpoch(options);
}

void SampleIndices(const SamplerOptions& options, uint64_t round, uint32_t rank, std::vector<uint32_t>& out) {
  const Positions positions = PositionsOf(options, round, rank);
  const Permutation order(Mix64(Mix64(options.seed) ^ EpochOfRound(options, round)), options.samples);
  out.clear();
  for (uint64_t position = positions.begin; position < positions.end; ++position) {
    out.push_back(order(static_cast<uint32_t>(position)));
  }
}

uint32_t SampleCount(const SamplerOptions& options, uint64_t round, uint32_t rank) {
  const Positions positions = PositionsOf(options, round, rank);
  return static_cast<uint32_t>(positions.end - positions.begin);
}

}  // namespace lockstep::trainer
