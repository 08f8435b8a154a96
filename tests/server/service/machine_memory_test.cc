#include "server/service/machine_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace lockstep::service {
namespace {

// A root folder with some files of /proc and /sys.
class MachineMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "/machine-" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
    Write("/proc/meminfo", "MemFree:  7 kB\nMemTotal:       2000 kB\n");
  }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  uint64_t Memory() const { return MachineMemory(root_); }

  std::string root_;
};

TEST_F(MachineMemoryTest, NoGroups_TheMachineCounts) { EXPECT_EQ(Memory(), 2000u << 10); }

TEST_F(MachineMemoryTest, Version2_LeastOfAllAbove) {
  Write("/proc/self/cgroup", "0::/kubepods/pod/container\n");
  Write("/sys/fs/cgroup/kubepods/pod/container/memory.max", "max\n");
  EXPECT_EQ(Memory(), 2000u << 10);
  Write("/sys/fs/cgroup/kubepods/pod/memory.max", "900000\n");
  EXPECT_EQ(Memory(), 900000u);
  Write("/sys/fs/cgroup/kubepods/pod/container/memory.max", "800000\n");
  EXPECT_EQ(Memory(), 800000u);
}

TEST_F(MachineMemoryTest, Version2_InAContainer_ItsOwnRoot) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "700000\n");
  EXPECT_EQ(Memory(), 700000u);
}

TEST_F(MachineMemoryTest, Version1_ControllerAmongOthers) {
  Write("/proc/self/cgroup", "3:cpu,cpuacct:/x\n2:hugetlb,memory:/docker/abc\n0::/\n");
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Memory(), 2000u << 10);
  Write("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "600000\n");
  EXPECT_EQ(Memory(), 600000u);
}

TEST_F(MachineMemoryTest, NothingReadable_NoLimit) {
  std::filesystem::remove_all(root_);
  EXPECT_EQ(Memory(), std::numeric_limits<uint64_t>::max());
}

TEST(ThisMachineTest, HasMemory) { EXPECT_GT(MachineMemory(), uint64_t{16} << 20); }

}  // namespace
}  // namespace lockstep::service
