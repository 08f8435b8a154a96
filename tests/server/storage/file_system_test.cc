#include "server/storage/file_system.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "server/storage/direct_writer.h"
#include "server/storage/system_files.h"

namespace lockstep::storage {
namespace {

class FileSystemTest : public ::testing::Test {
 protected:
  FileSystemTest() : folder_(::testing::TempDir() + "/" + UnitName()) {
    EXPECT_EQ(files_.MakeFolder(folder_ + "/deep/er"), absl::OkStatus());
  }
  static std::string UnitName() { return ::testing::UnitTest::GetInstance()->current_test_info()->name(); }

  std::string ReadBack(const std::string& path) {
    const absl::StatusOr<std::string> contents = ReadFile(files_, path);
    return contents.ok() ? *contents : contents.status().ToString();
  }

  FileSystem& files_ = SystemFiles();
  const std::string folder_;
  const std::string path_ = folder_ + "/file";
};

TEST_F(FileSystemTest, File_WrittenInAnyOrder_ReadsBack) {
  const auto file = files_.OpenOrCreate(path_);
  ASSERT_EQ(file.status(), absl::OkStatus());
  EXPECT_EQ((*file)->path(), path_);
  EXPECT_EQ((*file)->Write(3, AsBytes("def")), absl::OkStatus());
  EXPECT_EQ((*file)->Write(0, AsBytes("abc")), absl::OkStatus());
  EXPECT_EQ((*file)->Sync(), absl::OkStatus());
  EXPECT_EQ(ReadBack(path_), "abcdef");
  EXPECT_EQ((*file)->Truncate(2), absl::OkStatus());
  EXPECT_EQ(ReadBack(path_), "ab");
}

TEST_F(FileSystemTest, File_Allocated_GrowsAndNeverShrinks) {
  const auto file = files_.OpenOrCreate(path_);
  EXPECT_EQ((*file)->Allocate(100'000), absl::OkStatus());
  EXPECT_EQ(*(*file)->Size(), 100'000u);
  struct stat info;
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_GE(info.st_blocks * 512, 100'000);
  EXPECT_EQ((*file)->Allocate(10), absl::OkStatus());
  EXPECT_EQ(*(*file)->Size(), 100'000u);
}

// What goes around the cache and what does not, side by side: of pages that are shared, both parts stay. In memory
// there is no way around, or another one than on a disk.
TEST_F(FileSystemTest, WriteUncached_AtAnyOffset_ReadsBackAmongItsNeighbours) {
  constexpr size_t kPage = DirectWriter::kPage;
  for (const std::string& folder : {folder_, std::string("/dev/shm")}) {
    const std::string path = folder + "/lockstep-file-system-test-" + std::to_string(getpid());
    for (const size_t offset : {size_t{0}, size_t{1}, kPage - 1, kPage, 3 * kPage + 4}) {
      for (const size_t size : {size_t{0}, size_t{5}, DirectWriter::kLeast, DirectWriter::kLeast + kPage - 1,
                                2 * DirectWriter::kPiece + kPage, 2 * DirectWriter::kPiece + 12'345}) {
        std::string bytes(size, '\0');
        for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>('a' + i * 7 % 23);
        const std::string before(offset, '<');
        const std::string after(2 * kPage, '>');
        const auto file = files_.OpenOrCreate(path);
        ASSERT_EQ(file.status(), absl::OkStatus());
        ASSERT_EQ((*file)->Allocate(offset + size + after.size()), absl::OkStatus());
        ASSERT_EQ((*file)->Write(0, AsBytes(before)), absl::OkStatus());
        ASSERT_EQ((*file)->WriteUncached(offset, AsBytes(bytes)), absl::OkStatus());
        ASSERT_EQ((*file)->WriteUncached(offset + size, AsBytes(after)), absl::OkStatus());
        ASSERT_TRUE(ReadBack(path) == before + bytes + after) << path << ": " << size << " bytes at " << offset;
        ASSERT_EQ((*file)->Truncate(0), absl::OkStatus());
      }
    }
    EXPECT_EQ(files_.Remove(path), absl::OkStatus());
  }
}

TEST_F(FileSystemTest, DirectWriter_WhereTheFileSystemCan_GoesAroundTheCache) {
  const std::string bytes(DirectWriter::kLeast, 'x');
  const int file = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_GE(file, 0);
  const int direct = ::open(path_.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);
  {
    DirectWriter writer(file);
    EXPECT_EQ(writer.Write(0, AsBytes(bytes)), static_cast<ssize_t>(bytes.size()));
    EXPECT_EQ(writer.can(), direct >= 0) << "also after a write that it may have refused";
  }
  EXPECT_TRUE(ReadBack(path_) == bytes);
  if (direct >= 0) ::close(direct);
  ::close(file);
}

TEST_F(FileSystemTest, Read_PastTheEnd_IsOutOfRangeAndNamesTheFile) {
  ASSERT_EQ(ReplaceFile(files_, path_, AsBytes("abc")), absl::OkStatus());
  std::byte bytes[4];
  const absl::Status status = (*files_.Open(path_))->Read(1, absl::MakeSpan(bytes));
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), path_)) << status;
}

TEST_F(FileSystemTest, Open_WhatIsNotThereOrNoFile_SaysSo) {
  EXPECT_TRUE(absl::IsNotFound(files_.Open(path_).status()));
  EXPECT_TRUE(absl::IsNotFound(files_.OpenOrCreate(folder_ + "/nowhere/file").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(files_.Open(folder_).status()));
  EXPECT_TRUE(absl::IsNotFound(files_.List(folder_ + "/nowhere").status()));
}

TEST_F(FileSystemTest, Folder_Listed_IsSorted) {
  for (const char* const name : {"c", "a", "b"}) {
    ASSERT_EQ(ReplaceFile(files_, folder_ + "/deep/er/" + name, AsBytes(name), false), absl::OkStatus());
  }
  EXPECT_EQ(*files_.List(folder_ + "/deep/er"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(*files_.List(folder_ + "/deep"), (std::vector<std::string>{"er"}));
}

TEST_F(FileSystemTest, Remove_FileOrFolderOrNothing_IsOkUnlessFull) {
  ASSERT_EQ(ReplaceFile(files_, folder_ + "/deep/er/file", AsBytes("x")), absl::OkStatus());
  EXPECT_TRUE(absl::IsAlreadyExists(files_.Remove(folder_ + "/deep/er")));
  EXPECT_EQ(files_.Remove(folder_ + "/deep/er/file"), absl::OkStatus());
  EXPECT_EQ(files_.Remove(folder_ + "/deep/er/file"), absl::OkStatus());
  EXPECT_EQ(files_.Remove(folder_ + "/deep/er"), absl::OkStatus());
}

TEST_F(FileSystemTest, ReplaceFile_OverAnOlderOne_LeavesOnlyTheNewOne) {
  ASSERT_EQ(ReplaceFile(files_, path_, AsBytes("something longer")), absl::OkStatus());
  ASSERT_EQ(ReplaceFile(files_, path_, AsBytes("new")), absl::OkStatus());
  EXPECT_EQ(ReadBack(path_), "new");
  EXPECT_EQ(*files_.List(folder_), (std::vector<std::string>{"deep", "file"}));
}

TEST_F(FileSystemTest, SystemError_OfEachKind_SaysWhatItMeans) {
  const absl::Status status = internal::FileError(ENOSPC, "writing", path_);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "no space left on the disk of " + path_)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "rounds go on when there is room")) << status;
  EXPECT_TRUE(absl::IsUnavailable(internal::FileError(EIO, "syncing", path_)));
  EXPECT_TRUE(absl::IsPermissionDenied(internal::FileError(EROFS, "writing", path_)));
}

TEST(FolderOfTest, Path_AnyForm_HasItsFolder) {
  EXPECT_EQ(FolderOf("a/b/c"), "a/b");
  EXPECT_EQ(FolderOf("/a"), "/");
  EXPECT_EQ(FolderOf("a"), ".");
}

}  // namespace
}  // namespace lockstep::storage
