// Whole checkpoints for tests: the value of every element is a function of its place, so that any restored bit is
// checked against where it should come from and not against what was written.
#ifndef LOCKSTEP_TESTS_SERVER_STORAGE_CHECKPOINTS_H_
#define LOCKSTEP_TESTS_SERVER_STORAGE_CHECKPOINTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/storage/checkpoint.h"
#include "tests/testing/seeds.h"

namespace lockstep::storage {

// Tensors of odd shapes, a scalar and hard names among them, with about `large` elements in the largest.
ModelSpec OddModel(int64_t large);

struct TestRun {
  ModelSpec model;
  compute::OptimizerKind optimizer = compute::OptimizerKind::kAdam;
  int64_t block_elements = 1000;
  std::string folder = "disk/checkpoints";

  CheckpointIdentity Identity(uint64_t version, uint32_t shards) const;
  BlockLayout Layout(uint32_t shards) const;
};

// The bits of one element: all patterns, those of NaN included. `section` 0: parameters.
uint32_t BitsOf(uint64_t version, size_t section, uint32_t tensor, int64_t element);
std::vector<float> ValuesOf(uint64_t version, size_t section, const Block& block);

// Writes the shards' files, and then the manifest.
absl::StatusOr<Manifest> WriteFiles(FileSystem& files, const TestRun& run, uint64_t version, uint32_t shards);
absl::StatusOr<Manifest> WriteCheckpoint(FileSystem& files, const TestRun& run, uint64_t version, uint32_t shards);

// Restores on `shards` shards and checks every element that is given, even before an error, and that all are given when
// there is none.
absl::Status RestoreAndCheck(FileSystem& files, const TestRun& run, const Manifest& manifest, uint32_t shards);

}  // namespace lockstep::storage

#endif  // LOCKSTEP_TESTS_SERVER_STORAGE_CHECKPOINTS_H_
