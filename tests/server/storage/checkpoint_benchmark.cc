// How fast a model of 100 MB is written, checked and restored, on the machine's disk (TMPDIR, otherwise /tmp).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "server/storage/checkpoint.h"

namespace lockstep::storage {
namespace {

const ModelSpec& Model() {
  static const ModelSpec* const model = [] {
    auto* made = new ModelSpec;
    for (int i = 0; i < 25; ++i) made->tensors.push_back({.name = absl::StrCat("layer", i), .shape = {1000, 1000}});
    return made;
  }();
  return *model;
}

std::string Folder() {
  const char* const chosen = std::getenv("TMPDIR");
  return absl::StrCat(chosen == nullptr ? "/tmp" : chosen, "/lockstep-checkpoint-benchmark");
}

BlockLayout Layout(uint32_t shards) {
  return *BlockLayout::Create(Model(), shards, DefaultBlockElements(Model().elements(), shards));
}

Manifest Write(uint32_t shards, compute::OptimizerKind optimizer) {
  const BlockLayout layout = Layout(shards);
  const std::vector<float> values(1 << 20, 1.5f);
  Manifest manifest;
  manifest.identity.run_id = "benchmark";
  manifest.identity.shards = shards;
  manifest.identity.optimizer = optimizer;
  manifest.model = Model();
  for (uint32_t s = 0; s < shards; ++s) {
    manifest.files.push_back(
        WriteShardCheckpoint(
            SystemFiles(), Folder(), manifest.identity, Model(), layout, ShardIndex(s),
            [&](Slot slot, BlockContents& contents) {
              const int64_t elements = layout.block(layout.of_shard(ShardIndex(s))[slot.value()]).elements;
              contents.parameters = absl::MakeConstSpan(values).first(static_cast<size_t>(elements));
              contents.state.assign(static_cast<size_t>(compute::StateSlots(optimizer)), contents.parameters);
              return absl::OkStatus();
            })
            .value());
  }
  if (!WriteManifest(SystemFiles(), Folder(), manifest).ok()) std::abort();
  return manifest;
}

constexpr compute::OptimizerKind kKinds[] = {compute::OptimizerKind::kSgd, compute::OptimizerKind::kAdam};

void SetBytes(benchmark::State& state, int64_t parts) {
  const int64_t arrays = 1 + compute::StateSlots(kKinds[state.range(1)]);
  state.SetBytesProcessed(state.iterations() * Model().elements() * 4 * arrays / parts);
  std::filesystem::remove_all(Folder());
}

// All shards, one after the other, fsync included.
void WriteAll(benchmark::State& state) {
  for (auto unused : state) Write(static_cast<uint32_t>(state.range(0)), kKinds[state.range(1)]);
  SetBytes(state, 1);
}
BENCHMARK(WriteAll)->ArgsProduct({{1, 4}, {0, 1}})->Unit(benchmark::kMillisecond)->UseRealTime();

void CheckAll(benchmark::State& state) {
  Write(static_cast<uint32_t>(state.range(0)), kKinds[state.range(1)]);
  for (auto unused : state) {
    if (!ReadManifest(SystemFiles(), Folder(), Version(0), CheckDepth::kAllBytes).ok()) std::abort();
  }
  SetBytes(state, 1);
}
BENCHMARK(CheckAll)->ArgsProduct({{1, 4}, {0, 1}})->Unit(benchmark::kMillisecond)->UseRealTime();

// One shard of as many as the third argument says.
void RestoreOne(benchmark::State& state) {
  const auto to = static_cast<uint32_t>(state.range(2));
  const Manifest manifest = Write(static_cast<uint32_t>(state.range(0)), kKinds[state.range(1)]);
  const BlockLayout layout = Layout(to);
  for (auto unused : state) {
    const absl::Status status =
        RestoreShard(SystemFiles(), Folder(), manifest, Model(), layout, ShardIndex(0), kKinds[state.range(1)],
                     [](Slot, const BlockContents&) { return absl::OkStatus(); });
    if (!status.ok()) std::abort();
  }
  SetBytes(state, to);
}
BENCHMARK(RestoreOne)->ArgsProduct({{1, 4}, {0, 1}, {1, 4, 8}})->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace lockstep::storage

BENCHMARK_MAIN();
