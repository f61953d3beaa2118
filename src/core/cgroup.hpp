/// @file
/// How many CPUs the control groups of a process grant it.
///
/// Version 2 knows one group a process and a limit at every level of the tree (cpu.max: "quota period"
/// or "max period"); version 1 has a tree for the cpu controller (cpu.cfs_quota_us, -1: none). The
/// smallest limit between the process's group and the root counts.
#pragma once

#include <string>
#include <string_view>

namespace qeff {

/// Stands for "no limit".
inline constexpr double kUnlimitedCpus = 1e9;

/// @param groups  Content of /proc/self/cgroup: lines "id:controllers:path".
/// @param mount   Where the trees are mounted, /sys/fs/cgroup.
[[nodiscard]] double cgroup_cpus(std::string_view groups, const std::string& mount);

/// The same for this process.
[[nodiscard]] double cgroup_cpus();

}  // namespace qeff
