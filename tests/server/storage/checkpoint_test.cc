#include "server/storage/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/safetensors/safetensors.h"
#include "tests/server/storage/checkpoints.h"
#include "tests/server/storage/memory_files.h"

namespace lockstep::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using compute::OptimizerKind;

std::string TemporaryFolder(const std::string& name) {
  const std::string folder = ::testing::TempDir() + "/" + name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

class RoundTrip : public ::testing::TestWithParam<OptimizerKind> {};

TEST_P(RoundTrip, AnyShardsToAnyShards_BitExact) {
  // Blocks that divide the checksums' chunks, that do not, and that span several.
  for (const int64_t block_elements : {997, 8192, 40'000}) {
    for (uint32_t from = 1; from <= 8; ++from) {
      MemoryFiles files;
      TestRun run{.model = OddModel(70'000), .optimizer = GetParam(), .block_elements = block_elements};
      const absl::StatusOr<Manifest> written = WriteCheckpoint(files, run, 12, from);
      ASSERT_TRUE(written.ok()) << written.status();
      const absl::StatusOr<Manifest> read = ReadManifest(files, run.folder, Version(12), CheckDepth::kAllBytes);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_TRUE(*read == *written);
      for (uint32_t to = 1; to <= 8; ++to) {
        SCOPED_TRACE(absl::StrCat("blocks of ", block_elements, ", ", from, " to ", to, " shards"));
        run.block_elements = to % 2 == 0 ? block_elements : 5003;
        const absl::Status restored = RestoreAndCheck(files, run, *read, to);
        ASSERT_TRUE(restored.ok()) << restored;
        if (HasFailure()) return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(States, RoundTrip,
                         ::testing::Values(OptimizerKind::kSgd, OptimizerKind::kMomentum, OptimizerKind::kAdam),
                         [](const auto& info) { return std::string(compute::OptimizerKindName(info.param)); });

TEST(WriteShardCheckpoint, SameContents_SameBytes) {
  MemoryFiles first, second;
  const TestRun run{.model = OddModel(20'000)};
  ASSERT_TRUE(WriteCheckpoint(first, run, 3, 3).ok());
  ASSERT_TRUE(WriteCheckpoint(second, run, 3, 3).ok());
  ASSERT_THAT(first.Paths(), ::testing::SizeIs(4));
  ASSERT_EQ(first.Paths(), second.Paths());
  for (const std::string& path : first.Paths()) EXPECT_EQ(first.Contents(path), second.Contents(path)) << path;
}

TEST(WriteShardCheckpoint, ReadFails_ItsErrorAndNothingLeft) {
  MemoryFiles files;
  const TestRun run{.model = OddModel(20'000)};
  const absl::Status status =
      WriteShardCheckpoint(files, run.folder, run.Identity(1, 1), run.model, run.Layout(1), ShardIndex(0),
                           [](Slot slot, BlockContents&) {
                             return absl::CancelledError(absl::StrCat("stopped at slot ", slot.value()));
                           })
          .status();
  EXPECT_EQ(status, absl::CancelledError("stopped at slot 0"));
  EXPECT_THAT(files.Paths(), IsEmpty());
}

// A shard that dies again and again in the middle of its file would fill the disk.
TEST(WriteShardCheckpoint, DiedInTheMiddle_LeavesNothingOnceAnotherIsBegun) {
  MemoryFiles files;
  const TestRun run{.model = OddModel(20'000)};
  const std::string folder = absl::StrCat(run.folder, "/version-0000000003");
  ASSERT_TRUE(files.MakeFolder(folder).ok());
  for (const char* name : {"/shard-0-of-2.safetensors.tmp", "/shard-1-of-2.safetensors.tmp"}) {
    ASSERT_TRUE(files.OpenOrCreate(folder + name).ok());
  }
  const auto fails = [](Slot, BlockContents&) { return absl::CancelledError("stopped"); };
  ASSERT_FALSE(
      WriteShardCheckpoint(files, run.folder, run.Identity(5, 2), run.model, run.Layout(2), ShardIndex(0), fails).ok());
  EXPECT_THAT(files.Paths(), ElementsAre(folder + "/shard-1-of-2.safetensors.tmp")) << "which may be under way";
}

// What cannot be cleaned up is in nobody's way.
TEST(WriteShardCheckpoint, DiedInTheMiddleAsSomebodyElse_WritesAllTheSame) {
  MemoryFiles files;
  const TestRun run{.model = OddModel(20'000)};
  const std::string left = absl::StrCat(run.folder, "/version-0000000003/shard-0-of-1.safetensors.tmp");
  ASSERT_TRUE(files.MakeFolder(FolderOf(left)).ok());
  ASSERT_TRUE(files.OpenOrCreate(left).ok());
  files.FailAt(0, absl::PermissionDeniedError("not yours"), /*dead=*/false);
  EXPECT_TRUE(WriteCheckpoint(files, run, 5, 1).ok());
  EXPECT_TRUE(files.failed());
  EXPECT_TRUE(files.Has(left));
}

TEST(WriteShardCheckpoint, NameIsNotUtf8_InvalidArgument) {
  MemoryFiles files;
  const TestRun run{.model = {.tensors = {{.name = "bad \xff", .shape = {4}}}}};
  const absl::Status status = WriteCheckpoint(files, run, 1, 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not valid UTF-8"));
}

// The test's folders on the machine's disk, read by a program that knows the formats and none of our code.
TEST(Checkpoint, IndependentReader_SameElements) {
  for (const auto& [optimizer, shards] :
       {std::pair(OptimizerKind::kAdam, 1u), std::pair(OptimizerKind::kAdam, 3u),
        std::pair(OptimizerKind::kMomentum, 4u), std::pair(OptimizerKind::kSgd, 2u)}) {
    const TestRun run{.model = OddModel(50'000), .optimizer = optimizer, .folder = TemporaryFolder("python")};
    ASSERT_TRUE(WriteCheckpoint(SystemFiles(), run, 120, shards).ok());
    std::ofstream expected(run.folder + "/expected.bin", std::ios::binary);
    for (int section = 0; section <= compute::StateSlots(optimizer); ++section) {
      for (uint32_t t = 0; t < run.model.tensors.size(); ++t) {
        const Block whole{
            .tensor = t, .offset = 0, .elements = run.model.tensors[t].elements(), .shard = {}, .slot = {}};
        const std::vector<float> values = ValuesOf(120, static_cast<size_t>(section), whole);
        expected.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(whole.bytes()));
      }
    }
    expected.close();
    const std::string command = absl::StrCat("/usr/bin/python3 -B tests/server/storage/read_checkpoint.py '",
                                             run.folder, "/version-0000000120' '", run.folder, "/expected.bin' 2>&1");
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
}

TEST(RestoreShard, OtherModel_NamesFirstTensorThatDiffers) {
  MemoryFiles files;
  TestRun run{.model = OddModel(1000)};
  const absl::StatusOr<Manifest> manifest = WriteCheckpoint(files, run, 3, 2);
  ASSERT_TRUE(manifest.ok());
  run.model.tensors[3].shape = {5, 13};
  run.model.tensors[5].name = "other";
  const absl::Status status = RestoreAndCheck(files, run, *manifest, 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tensor 3 should be layer/0 float32[5, 13]"));
}

TEST(RestoreShard, OtherOptimizer_NamesBoth) {
  MemoryFiles files;
  TestRun run{.model = OddModel(1000)};
  const absl::StatusOr<Manifest> manifest = WriteCheckpoint(files, run, 3, 2);
  ASSERT_TRUE(manifest.ok());
  run.optimizer = OptimizerKind::kMomentum;
  const absl::Status status = RestoreAndCheck(files, run, *manifest, 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("optimizer adam, but this run uses momentum"));
}

TEST(ListCheckpoints, NoFolder_None) {
  MemoryFiles files;
  const absl::StatusOr<std::vector<Version>> versions = ListCheckpoints(files, "disk/none");
  ASSERT_TRUE(versions.ok()) << versions.status();
  EXPECT_THAT(*versions, IsEmpty());
}

TEST(ListCheckpoints, FilesWithoutManifest_NoCheckpoint) {
  MemoryFiles files;
  const TestRun run{.model = OddModel(1000)};
  ASSERT_TRUE(WriteCheckpoint(files, run, 9, 2).ok());
  ASSERT_TRUE(WriteCheckpoint(files, run, 30'000'000'000, 2).ok());
  ASSERT_TRUE(WriteFiles(files, run, 10, 2).ok());
  ASSERT_TRUE(files.MakeFolder(run.folder + "/version-11").ok());
  EXPECT_THAT(*ListCheckpoints(files, run.folder), ElementsAre(Version(9), Version(30'000'000'000)));
  EXPECT_TRUE(absl::IsNotFound(ReadManifest(files, run.folder, Version(10), CheckDepth::kHeads).status()));
}

class Retention : public ::testing::Test {
 protected:
  void Write(uint64_t version) { ASSERT_TRUE(WriteCheckpoint(files_, run_, version, 2).ok()); }
  void Flip(const std::string& version, size_t from_end) {
    std::string& file = files_.Contents(absl::StrCat(run_.folder, "/", version, "/shard-1-of-2.safetensors"));
    file[file.size() - from_end] ^= 1;
  }
  std::vector<uint64_t> Left() {
    std::vector<uint64_t> versions;
    const std::vector<Version> listed = ListCheckpoints(files_, run_.folder).value();
    for (Version version : listed) versions.push_back(version.value());
    return versions;
  }
  bool AnyFileOf(const std::string& version) {
    for (const std::string& path : files_.Paths()) {
      if (path.find(version) != path.npos) return true;
    }
    return false;
  }

  MemoryFiles files_;
  const TestRun run_{.model = OddModel(1000)};
};

TEST_F(Retention, MoreThanKept_NewestStay) {
  for (uint64_t version : {10, 20, 30, 40}) Write(version);
  ASSERT_TRUE(RemoveOldCheckpoints(files_, run_.folder, 2).ok());
  EXPECT_THAT(Left(), ElementsAre(30, 40));
  EXPECT_FALSE(AnyFileOf("version-0000000010"));
  ASSERT_TRUE(RemoveOldCheckpoints(files_, run_.folder, 0).ok());
  EXPECT_THAT(Left(), ElementsAre(40));
}

TEST_F(Retention, Unfinished_OnlyOlderThanNewestGo) {
  Write(10);
  ASSERT_TRUE(WriteFiles(files_, run_, 15, 2).ok());
  Write(20);
  ASSERT_TRUE(WriteFiles(files_, run_, 25, 2).ok());
  ASSERT_TRUE(RemoveOldCheckpoints(files_, run_.folder, 5).ok());
  EXPECT_THAT(Left(), ElementsAre(10, 20));
  EXPECT_FALSE(AnyFileOf("version-0000000015"));
  EXPECT_TRUE(AnyFileOf("version-0000000025"));
}

TEST_F(Retention, NewestAreDamaged_NewestWholeStays) {
  for (uint64_t version : {10, 20, 30, 40}) Write(version);
  files_.Contents(run_.folder + "/version-0000000040/manifest.json").pop_back();
  ASSERT_TRUE(files_.Remove(run_.folder + "/version-0000000030/shard-0-of-2.safetensors").ok());
  ASSERT_TRUE(RemoveOldCheckpoints(files_, run_.folder, 1).ok());
  EXPECT_THAT(Left(), ElementsAre(20, 30, 40));
}

TEST_F(Retention, FlippedElements_FoundWithAllBytes) {
  for (uint64_t version : {10, 20, 30}) Write(version);
  Flip("version-0000000030", 1);
  ASSERT_TRUE(RemoveOldCheckpoints(files_, run_.folder, 1, {.depth = CheckDepth::kAllBytes}).ok());
  EXPECT_THAT(Left(), ElementsAre(20, 30));
}

TEST_F(Retention, NoneIsWhole_NothingGoes) {
  for (uint64_t version : {10, 20}) Write(version);
  for (const char* version : {"version-0000000010", "version-0000000020"}) Flip(version, 1);
  ASSERT_TRUE(RemoveOldCheckpoints(files_, run_.folder, 1, {.depth = CheckDepth::kAllBytes}).ok());
  EXPECT_THAT(Left(), ElementsAre(10, 20));
}

class Plain : public ::testing::Test {
 protected:
  void WritePlain(const ModelSpec& model) {
    std::vector<std::vector<float>> values;
    std::vector<safetensors::TensorView> views;
    for (uint32_t t = 0; t < model.tensors.size(); ++t) {
      const int64_t elements = model.tensors[t].elements();
      values.push_back(ValuesOf(0, 0, {.tensor = t, .offset = 0, .elements = elements, .shard = {}, .slot = {}}));
      views.push_back({model.tensors[t].name, model.tensors[t].shape, {}});
    }
    for (size_t t = 0; t < views.size(); ++t) views[t].data = values[t];
    ASSERT_TRUE(safetensors::WriteFile(path_, views).ok());
  }
  absl::Status Restore(uint32_t shards) {
    const BlockLayout layout = run_.Layout(shards);
    for (uint32_t s = 0; s < shards; ++s) {
      const absl::Status status = RestoreFromPlain(
          SystemFiles(), path_, run_.model, layout, ShardIndex(s), [&](Slot slot, const BlockContents& contents) {
            const Block& block = layout.block(layout.of_shard(ShardIndex(s))[slot.value()]);
            const std::vector<float> expected = ValuesOf(0, 0, block);
            EXPECT_EQ(contents.parameters.size(), expected.size());
            EXPECT_EQ(std::memcmp(contents.parameters.data(), expected.data(), block.bytes()), 0);
            EXPECT_THAT(contents.state, IsEmpty());
            ++stored_;
            return absl::OkStatus();
          });
      if (!status.ok()) return status;
    }
    EXPECT_EQ(stored_, layout.blocks().size());
    return absl::OkStatus();
  }

  const TestRun run_{.model = OddModel(30'000)};
  const std::string path_ = TemporaryFolder("plain") + "/model.safetensors";
  size_t stored_ = 0;
};

TEST_F(Plain, SameModel_ParametersAndNoState) {
  WritePlain(run_.model);
  const absl::Status status = Restore(3);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(Plain, OtherShape_NamesTensor) {
  ModelSpec other = run_.model;
  other.tensors[6].shape = {1010};
  WritePlain(other);
  const absl::Status status = Restore(3);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("layer@0/weight float32[1009] is expected, but the file has F32 [1010]"));
  EXPECT_EQ(stored_, 0u);
}

TEST_F(Plain, MissingOrSurplusTensor_NamesIt) {
  ModelSpec other = run_.model;
  other.tensors[4].name = "b";
  WritePlain(other);
  EXPECT_THAT(std::string(Restore(1).message()), HasSubstr("a float32[1] is expected, but the file has no tensor"));
  other = run_.model;
  other.tensors.push_back({.name = "more", .shape = {2}});
  WritePlain(other);
  EXPECT_THAT(std::string(Restore(1).message()), HasSubstr("the file has F32 [2] 'more', which the model has not"));
}

TEST_F(Plain, Truncated_DataLoss) {
  WritePlain(run_.model);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 4);
  EXPECT_TRUE(absl::IsDataLoss(Restore(1)));
}

}  // namespace
}  // namespace lockstep::storage
