// CPU limits of control groups, read from trees written for the test.
#include "core/cgroup.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace qeff {
namespace {

/// A mount point in the test's temporary folder.
class Cgroup : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(root_); }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    const auto file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  [[nodiscard]] double cpus(const std::string& groups) const { return cgroup_cpus(groups, root_.string()); }

 private:
  std::filesystem::path root_ =
      std::filesystem::path(testing::TempDir()) /
      (std::string("qeff_cgroup_") + testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(Cgroup, WithoutAnyFileThereIsNoLimit) {
  EXPECT_EQ(cpus(""), kUnlimitedCpus);
  EXPECT_EQ(cpus("0::/user.slice/session.scope\n"), kUnlimitedCpus);
  EXPECT_EQ(cpus("not a line of this file\n::\n0:cpu\n1:cpu:relative\n"), kUnlimitedCpus);
}

TEST_F(Cgroup, ANestedGroupOfVersion2IsFound) {
  write("cpu.max", "max 100000");
  write("a/cpu.max", "max 100000");
  write("a/b/cpu.max", "150000 100000");
  EXPECT_DOUBLE_EQ(cpus("0::/a/b\n"), 1.5);
  EXPECT_EQ(cpus("0::/a\n"), kUnlimitedCpus);
  EXPECT_EQ(cpus("0::/\n"), kUnlimitedCpus);
}

TEST_F(Cgroup, TheSmallestLimitOnTheWayToTheRootCounts) {
  write("a/cpu.max", "50000 25000");
  write("a/b/cpu.max", "400000 100000");
  write("a/b/c/cpu.max", "max 100000");
  EXPECT_DOUBLE_EQ(cpus("0::/a/b/c\n"), 2.0);
}

TEST_F(Cgroup, InAContainerTheRootHasTheLimit) {
  write("cpu.max", "300000 100000");
  EXPECT_DOUBLE_EQ(cpus("0::/docker/of/the/host\n"), 3.0);
}

TEST_F(Cgroup, Version1HasItsOwnTreeAndOtherControllersAreIgnored) {
  write("cpu,cpuacct/group/cpu.cfs_quota_us", "250000");
  write("cpu,cpuacct/group/cpu.cfs_period_us", "100000");
  write("memory/group/cpu.cfs_quota_us", "1000");
  write("memory/group/cpu.cfs_period_us", "100000");
  EXPECT_DOUBLE_EQ(cpus("7:memory:/group\n3:cpu,cpuacct:/group\n1:cpuset:/group\n"), 2.5);
  write("cpu,cpuacct/group/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(cpus("3:cpu,cpuacct:/group\n"), kUnlimitedCpus);
}

TEST_F(Cgroup, AHybridHierarchyTakesTheSmallerOfBoth) {
  write("cpu/g/cpu.cfs_quota_us", "400000");
  write("cpu/g/cpu.cfs_period_us", "100000");
  write("unified/g/cpu.max", "200000 100000");
  EXPECT_DOUBLE_EQ(cpus("2:cpu:/g\n0::/g\n"), 2.0);
}

TEST_F(Cgroup, NonsenseIsNoLimit) {
  for (const char* text : {"", "max", "-5 100000", "100000 0", "100000", "many 100000", "100000 many"}) {
    write("cpu.max", text);
    EXPECT_EQ(cpus("0::/\n"), kUnlimitedCpus) << text;
  }
}

}  // namespace
}  // namespace qeff
