#include "tests/server/storage/checkpoints.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <set>

namespace lockstep::storage {

ModelSpec OddModel(int64_t large) {
  return {.tensors = {{.name = "scalar", .shape = {}},
                      {.name = "layer.weight", .shape = {3, large / 3}},
                      {.name = "layer", .shape = {7}},
                      {.name = "layer/0", .shape = {13, 1, 5}},
                      {.name = "a", .shape = {1}},
                      {.name = "Übergröße \"quoted\"\n@7/x", .shape = {11, 3}},
                      {.name = "layer@0/weight", .shape = {1009}},
                      {.name = "z/", .shape = {2, 3, 5, 7}}}};
}

CheckpointIdentity TestRun::Identity(uint64_t version, uint32_t shards) const {
  return {.run_id = "3f2a",
          .version = Version(version),
          .completed_in = Generation(4),
          .participants = {Rank(0), Rank(2), Rank(5)},
          .shards = shards,
          .optimizer = optimizer};
}

BlockLayout TestRun::Layout(uint32_t shards) const { return *BlockLayout::Create(model, shards, block_elements); }

uint32_t BitsOf(uint64_t version, size_t section, uint32_t tensor, int64_t element) {
  uint64_t x = ((version * 8 + section) * 1024 + tensor) * (uint64_t{1} << 32) + static_cast<uint64_t>(element);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return static_cast<uint32_t>((x ^ (x >> 31)) >> 16);
}

std::vector<float> ValuesOf(uint64_t version, size_t section, const Block& block) {
  std::vector<uint32_t> bits(static_cast<size_t>(block.elements));
  for (int64_t i = 0; i < block.elements; ++i) {
    bits[static_cast<size_t>(i)] = BitsOf(version, section, block.tensor, block.offset + i);
  }
  std::vector<float> values(bits.size());
  std::memcpy(values.data(), bits.data(), block.bytes());
  return values;
}

absl::StatusOr<Manifest> WriteFiles(FileSystem& files, const TestRun& run, uint64_t version, uint32_t shards) {
  const BlockLayout layout = run.Layout(shards);
  Manifest manifest{.identity = run.Identity(version, shards), .model = run.model, .files = {}};
  for (uint32_t s = 0; s < shards; ++s) {
    std::vector<std::vector<float>> arrays;
    absl::StatusOr<CheckpointFile> file =
        WriteShardCheckpoint(files, run.folder, manifest.identity, run.model, layout, ShardIndex(s),
                             [&](Slot slot, BlockContents& contents) {
                               const Block& block = layout.block(layout.of_shard(ShardIndex(s))[slot.value()]);
                               arrays.clear();
                               for (int i = 0; i <= compute::StateSlots(run.optimizer); ++i) {
                                 arrays.push_back(ValuesOf(version, static_cast<size_t>(i), block));
                               }
                               contents.parameters = arrays[0];
                               contents.state.assign(arrays.begin() + 1, arrays.end());
                               return absl::OkStatus();
                             });
    if (!file.ok()) return file.status();
    manifest.files.push_back(*file);
  }
  return manifest;
}

absl::StatusOr<Manifest> WriteCheckpoint(FileSystem& files, const TestRun& run, uint64_t version, uint32_t shards) {
  absl::StatusOr<Manifest> manifest = WriteFiles(files, run, version, shards);
  if (!manifest.ok()) return manifest;
  if (absl::Status status = WriteManifest(files, run.folder, *manifest); !status.ok()) return status;
  return manifest;
}

absl::Status RestoreAndCheck(FileSystem& files, const TestRun& run, const Manifest& manifest, uint32_t shards) {
  const BlockLayout layout = run.Layout(shards);
  for (uint32_t s = 0; s < shards; ++s) {
    uint32_t next = 0;
    const auto check = [&](size_t section, const Block& block, absl::Span<const float> found) {
      const std::vector<float> expected = ValuesOf(manifest.identity.version.value(), section, block);
      ASSERT_EQ(found.size(), expected.size());
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), block.bytes()), 0)
          << "section " << section << ", " << ToString(run.model.tensors[block.tensor]) << " from " << block.offset;
    };
    absl::Status restored =
        RestoreShard(files, run.folder, manifest, run.model, layout, ShardIndex(s), run.optimizer,
                     [&](Slot slot, const BlockContents& contents) {
                       EXPECT_EQ(slot.value(), next++);
                       const Block& block = layout.block(layout.of_shard(ShardIndex(s))[slot.value()]);
                       EXPECT_EQ(contents.state.size(), static_cast<size_t>(compute::StateSlots(run.optimizer)));
                       check(0, block, contents.parameters);
                       for (size_t i = 0; i < contents.state.size(); ++i) check(i + 1, block, contents.state[i]);
                       return absl::OkStatus();
                     });
    if (!restored.ok()) return restored;
    EXPECT_EQ(next, layout.of_shard(ShardIndex(s)).size());
  }
  return absl::OkStatus();
}

}  // namespace lockstep::storage
