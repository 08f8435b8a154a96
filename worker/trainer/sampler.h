// Which training samples a rank takes in a round: a pure function, so that a replacement of a
// killed worker continues exactly where the other stopped, and nobody sends sample lists around.
//
//   epoch 0, round 1:  | rank 0 | rank 1 | rank 2 |   each |...| is `batch` positions of the
//            round 2:  | rank 0 | rank 1 | rank 2 |   epoch's random order of the training set
//            round 3:  | rank 0 | r1 |                last round: what is left, in rank order
//   epoch 1, round 4:  another order, from the start
//
// Invariants:
//  1. In each epoch (a pass over the training set) every sample is taken exactly once.
//  2. What a round takes as a whole depends on workers x batch only: 4 x 64 and 2 x 128 agree.
//  3. In the last round of an epoch ranks may get fewer samples, or none: they contribute with
//     that many as weight (none: weight 0), so that the weighted mean is the mean over samples.
//
// When the number of workers changes, rounds after it are counted with the new number from round 1
// on: the epoch in progress may then take some samples twice or not at all; later ones are whole.
//
// Thread-safety: free functions without state.
#ifndef WORKER_TRAINER_SAMPLER_H_
#define WORKER_TRAINER_SAMPLER_H_

#include <cstdint>
#include <vector>

namespace lockstep::trainer {

struct SamplerOptions {
  uint64_t seed = 0;
  uint32_t workers = 1;  // N; at least 1.
  uint32_t batch = 1;    // Samples per worker and round; at least 1.
  uint32_t samples = 1;  // Size of the training set; at least 1.
};

// ceil(samples / (workers x batch)).
uint64_t RoundsPerEpoch(const SamplerOptions& options);

// Number of the pass, from 0, that `round` (1-based) belongs to.
uint64_t EpochOfRound(const SamplerOptions& options, uint64_t round);

// Replaces `out` by the indices (0..samples-1) that `rank` (0..workers-1) takes in `round`
// (1-based): at most `batch` of them, possibly none. O(batch) time and memory. Aborts on a rank or
// round out of range and on options of zero, which are bugs of the caller.
void SampleIndices(const SamplerOptions& options, uint64_t round, uint32_t rank, std::vector<uint32_t>& out);

// How many indices SampleIndices gives, in O(1).
uint32_t SampleCount(const SamplerOptions& options, uint64_t round, uint32_t rank);

}  // namespace lockstep::trainer

#endif  // WORKER_TRAINER_SAMPLER_H_
