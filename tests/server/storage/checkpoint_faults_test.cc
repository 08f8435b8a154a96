#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/storage/checkpoint.h"
#include "tests/server/storage/checkpoints.h"
#include "tests/server/storage/memory_files.h"
#include "tests/testing/seeds.h"

namespace lockstep::storage {
namespace {

using testing::ForEachSeed;
using ::testing::HasSubstr;
using testing::Random;
using testing::Uniform;

constexpr uint64_t kVersion = 7;
constexpr uint32_t kShards = 3;

class CheckpointFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<Manifest> written = WriteCheckpoint(files_, run_, kVersion, kShards);
    ASSERT_TRUE(written.ok()) << written.status();
    manifest_ = *written;
    paths_ = files_.Paths();
    ASSERT_EQ(paths_.size(), kShards + 1);
  }

  absl::Status Verify() { return ReadManifest(files_, run_.folder, Version(kVersion), CheckDepth::kAllBytes).status(); }
  std::string ShardPath(uint32_t shard) {
    return absl::StrCat(run_.folder, "/version-0000000007/shard-", shard, "-of-", kShards, ".safetensors");
  }

  // The damage is found, blamed on `path`, and not restored. RestoreAndCheck fails the test if it was stored.
  void ExpectFound(const std::string& path, bool restore) {
    const absl::Status status = Verify();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    if (!restore) return;
    const absl::Status restored = RestoreAndCheck(files_, run_, manifest_, 2);
    EXPECT_TRUE(absl::IsDataLoss(restored)) << restored;
    EXPECT_THAT(std::string(restored.message()), HasSubstr(path));
  }

  // Where the message says that the damage is.
  static void ExpectNamesPlace(const absl::Status& status, uint64_t position) {
    const std::string message(status.message());
    uint64_t begin = 0, end = 0;
    const size_t bytes = message.find(": bytes ");
    if (bytes == message.npos) {
      EXPECT_THAT(message, HasSubstr(": byte "));
      return;
    }
    ASSERT_EQ(std::sscanf(message.c_str() + bytes, ": bytes %lu to %lu", &begin, &end), 2) << message;
    EXPECT_LE(begin, position);
    EXPECT_LT(position, end + 32) << "a manifest's own checksum stands behind what it covers";
  }

  MemoryFiles files_;
  const TestRun run_{.model = OddModel(12'000), .block_elements = 3000};
  Manifest manifest_;
  std::vector<std::string> paths_;
};

TEST_F(CheckpointFaults, FlippedBit_FoundAndNamed) {
  size_t flips = 0;
  ForEachSeed(10, [&](Random& random) {
    for (int i = 0; i < 1000 && !HasFailure(); ++i) {
      const std::string& path = paths_[random() % paths_.size()];
      std::string& contents = files_.Contents(path);
      // Every other one in the head, which is a small part of the file.
      const size_t position = random() % (i % 2 == 0 ? contents.size() : std::min<size_t>(contents.size(), 4000));
      const char flip = static_cast<char>(1 << random() % 8);
      SCOPED_TRACE(absl::StrCat(path, ": byte ", position, " ^ ", static_cast<int>(flip)));
      contents[position] ^= flip;
      const bool is_manifest = path.ends_with("manifest.json");
      ExpectFound(path, !is_manifest && i % 16 < 2);
      ExpectNamesPlace(Verify(), position);
      contents[position] ^= flip;
      ++flips;
    }
  });
  EXPECT_TRUE(Verify().ok());
  std::printf("%zu flipped bits, all found\n", flips);
}

TEST_F(CheckpointFaults, CutOrLonger_Found) {
  ForEachSeed(5, [&](Random& random) {
    for (int i = 0; i < 200 && !HasFailure(); ++i) {
      const std::string& path = paths_[random() % paths_.size()];
      const std::string whole = files_.Contents(path);
      const bool longer = i % 10 == 0;
      const size_t size =
          longer ? whole.size() + Uniform(random, 1, 100) : (i % 3 == 0 ? random() % 16 : random() % whole.size());
      SCOPED_TRACE(absl::StrCat(path, ": ", size, " of ", whole.size(), " bytes"));
      files_.Contents(path).resize(size);
      ExpectFound(path, !path.ends_with("manifest.json"));
      files_.Contents(path) = whole;
    }
  });
}

TEST_F(CheckpointFaults, MissingFile_Named) {
  for (uint32_t shard = 0; shard < kShards; ++shard) {
    const std::string contents = files_.Contents(ShardPath(shard));
    ASSERT_TRUE(files_.Remove(ShardPath(shard)).ok());
    ExpectFound(ShardPath(shard) + ": the file is missing", true);
    ASSERT_TRUE((*files_.OpenOrCreate(ShardPath(shard)))->Truncate(contents.size()).ok());
    files_.Contents(ShardPath(shard)) = contents;
  }
  EXPECT_TRUE(Verify().ok());
}

TEST_F(CheckpointFaults, SwappedFiles_Found) {
  std::swap(files_.Contents(ShardPath(0)), files_.Contents(ShardPath(2)));
  ExpectFound(ShardPath(0), true);
}

TEST_F(CheckpointFaults, DuplicatedFile_Found) {
  files_.Contents(ShardPath(1)) = files_.Contents(ShardPath(2));
  ExpectFound(ShardPath(1), true);
}

TEST_F(CheckpointFaults, ManifestThatListsAnotherShardsFile_Found) {
  files_.Contents(ShardPath(1)) = files_.Contents(ShardPath(2));
  manifest_.files[1].bytes = manifest_.files[2].bytes;
  manifest_.files[1].head_xxh3_128 = manifest_.files[2].head_xxh3_128;
  ASSERT_TRUE(WriteManifest(files_, run_.folder, manifest_).ok());
  ExpectFound("the manifest wants a file with shard '1', but here it is '2'", true);
}

TEST_F(CheckpointFaults, ManifestThatMixesVersions_Found) {
  const absl::StatusOr<Manifest> next = WriteCheckpoint(files_, run_, kVersion + 1, kShards);
  ASSERT_TRUE(next.ok());
  files_.Contents(ShardPath(1)) = files_.Contents(run_.folder + "/version-0000000008/shard-1-of-3.safetensors");
  manifest_.files[1] = next->files[1];
  ASSERT_TRUE(WriteManifest(files_, run_.folder, manifest_).ok());
  ExpectFound("the manifest wants a file with version '7', but here it is '8'", true);
}

TEST_F(CheckpointFaults, ManifestOfAnotherVersion_Found) {
  ASSERT_TRUE(WriteCheckpoint(files_, run_, kVersion + 1, kShards).ok());
  files_.Contents(run_.folder + "/version-0000000007/manifest.json") =
      files_.Contents(run_.folder + "/version-0000000008/manifest.json");
  EXPECT_THAT(std::string(Verify().message()), HasSubstr("is of version 8, not of 7"));
}

// One disk with an old checkpoint, upon which a new one is written.
struct Disk {
  Disk() {
    for (absl::Status status : {files.MakeFolder(run.folder), files.SyncFolder(""), files.SyncFolder("disk"),
                                WriteCheckpoint(files, run, 1, 2).status()}) {
      EXPECT_TRUE(status.ok()) << status;
    }
  }
  // The newest version that there is, which is whole and bit-exact.
  uint64_t NewestWhole() {
    const absl::StatusOr<std::vector<Version>> versions = ListCheckpoints(files, run.folder);
    EXPECT_TRUE(versions.ok() && !versions->empty()) << versions.status();
    if (!versions.ok() || versions->empty()) return 0;
    const absl::StatusOr<Manifest> manifest = ReadManifest(files, run.folder, versions->back(), CheckDepth::kAllBytes);
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    if (!manifest.ok()) return 0;
    EXPECT_EQ(RestoreAndCheck(files, run, *manifest, 3), absl::OkStatus());
    return versions->back().value();
  }

  MemoryFiles files;
  const TestRun run{.model = OddModel(3000), .block_elements = 700};
};

TEST(CheckpointCrash, PowerCutAtAnyOperation_OldOrNewIsWhole) {
  size_t cuts = 0;
  ForEachSeed(8, [&](Random& random) {
    bool reached = true;
    for (int64_t operation = 0; reached && !::testing::Test::HasFailure(); ++operation) {
      SCOPED_TRACE(absl::StrCat("power cut at operation ", operation));
      Disk disk;
      disk.files.FailAt(operation, absl::UnavailableError("no power"), /*dead=*/true);
      absl::Status status = WriteCheckpoint(disk.files, disk.run, 2, 3).status();
      const bool written = status.ok();
      if (written) status = RemoveOldCheckpoints(disk.files, disk.run.folder, 1);
      reached = disk.files.failed();
      disk.files.PowerCut(random);
      const uint64_t newest = disk.NewestWhole();
      EXPECT_GE(newest, written ? 2u : 1u);
      // And it can be written now.
      EXPECT_EQ(WriteCheckpoint(disk.files, disk.run, 2, 3).status(), absl::OkStatus());
      EXPECT_EQ(RemoveOldCheckpoints(disk.files, disk.run.folder, 1), absl::OkStatus());
      EXPECT_EQ(disk.NewestWhole(), 2u);
      EXPECT_EQ(ListCheckpoints(disk.files, disk.run.folder)->size(), 1u);
      ++cuts;
    }
  });
  std::printf("%zu power cuts\n", cuts);
}

TEST(CheckpointCrash, AnyOperationFails_ItsErrorAndNoTemporaryFile) {
  bool reached = true;
  int64_t operation = 0;
  for (; reached && !::testing::Test::HasFailure(); ++operation) {
    SCOPED_TRACE(absl::StrCat("operation ", operation, " finds the disk full"));
    Disk disk;
    const absl::Status full = absl::ResourceExhaustedError("disk full");
    disk.files.FailAt(operation, full, /*dead=*/false);
    const absl::Status status = WriteCheckpoint(disk.files, disk.run, 2, 3).status();
    reached = disk.files.failed();
    EXPECT_EQ(status, reached ? full : absl::OkStatus());
    for (const std::string& path : disk.files.Paths()) EXPECT_FALSE(path.ends_with("safetensors.tmp")) << path;
    disk.NewestWhole();
    disk.files.FailAt(-1, absl::OkStatus(), /*dead=*/false);
    EXPECT_EQ(WriteCheckpoint(disk.files, disk.run, 2, 3).status(), absl::OkStatus());
    EXPECT_EQ(disk.NewestWhole(), 2u);
  }
  std::printf("%ld operations failed\n", operation - 1);
}

}  // namespace
}  // namespace lockstep::storage
