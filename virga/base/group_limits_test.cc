#include "virga/base/group_limits.h"

#include <fstream>
#include <string>

#include <unistd.h>

#include <gtest/gtest.h>

namespace virga {
namespace {

namespace fs = std::filesystem;

class GroupLimitsTest : public testing::Test {
 protected:
  ~GroupLimitsTest() override { fs::remove_all(root_); }

  void put(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << '\n';
  }

  const fs::path root_ = fs::path(testing::TempDir()) / ("virga_group_limits." + std::to_string(::getpid()));
  const GroupLimits none_{};
};

TEST_F(GroupLimitsTest, TakesTheLeastOfTheGroupsAboveInTheSecondVersion) {
  put("job/cpu.max", "150000 100000");
  put("job/step/cpu.max", "max 100000");
  put("job/step/memory.max", "4000000");
  put("job/memory.max", "3000000");
  put("other/cpu.max", "1000 100000");
  const auto limits = group_limits(root_, "0::/job/step\n");
  EXPECT_EQ(limits.cores, 1.5);
  EXPECT_EQ(limits.memory_bytes, 3'000'000U);
}

TEST_F(GroupLimitsTest, ReadsEachControllerOfTheFirstVersion) {
  put("cpu/slurm/job/cpu.cfs_quota_us", "25000");
  put("cpu/slurm/job/cpu.cfs_period_us", "100000");
  put("cpu/slurm/cpu.cfs_quota_us", "-1");
  put("cpu/slurm/cpu.cfs_period_us", "100000");
  put("memory/slurm/memory.limit_in_bytes", "9223372036854771712");
  put("memory/slurm/job2/memory.limit_in_bytes", "1000");
  const auto limits = group_limits(root_, "5:memory:/slurm/job2\n4:cpu,cpuacct:/slurm/job\n1:name=systemd:/slurm\n");
  EXPECT_EQ(limits.cores, 0.25);
  EXPECT_EQ(limits.memory_bytes, 1000U);
}

TEST_F(GroupLimitsTest, ReadsTheRootInAContainerThatSeesNothingAbove) {
  put("cpu.max", "50000 100000");
  put("memory/memory.limit_in_bytes", "7000");
  const auto limits = group_limits(root_, "0::/../../host/path\n3:memory:/docker/1234\n");
  EXPECT_EQ(limits.cores, 0.5);
  EXPECT_EQ(limits.memory_bytes, 7000U);
}

TEST_F(GroupLimitsTest, IsNotLimitedByWhatMakesNoSense) {
  put("cpu.max", "many");
  put("memory.max", "max");
  put("a/cpu.max", "-5 0");
  for (const auto* groups : {"", "0", "0:", "::", "0::", "0::/a\n0::a\n", "x:cpu", "1:cpu,memory,:/../..\n", "\n\n"}) {
    const auto limits = group_limits(root_, groups);
    EXPECT_EQ(limits.cores, none_.cores) << groups;
    EXPECT_EQ(limits.memory_bytes, none_.memory_bytes) << groups;
  }
}

TEST(OwnGroupLimitsTest, LeavesThisProcessSomething) {
  const auto limits = group_limits();
  EXPECT_GT(limits.cores, 0);
  EXPECT_GT(limits.memory_bytes, 1'000'000U);
}

}  // namespace
}  // namespace virga
