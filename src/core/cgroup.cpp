#include "core/cgroup.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

namespace qeff {
namespace {

/// The limit of the one group at `folder`, in either version.
double limit_at(const std::string& folder) {
  std::string quota, period;
  std::ifstream both(folder + "/cpu.max");
  if (!(both >> quota >> period)) {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  const double part = std::atof(quota.c_str()), whole = std::atof(period.c_str());  // "max" reads as 0
  return part > 0 && whole > 0 ? part / whole : kUnlimitedCpus;
}

/// The smallest limit of `path` and the groups above it. Inside a container the path may be that of the
/// host and not exist: then its root counts.
double limit_along(const std::string& root, std::string path) {
  double least = limit_at(root);
  while (path.size() > 1) {
    least = std::min(least, limit_at(root + path));
    path.erase(path.rfind('/'));
  }
  return least;
}

bool has_cpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

}  // namespace

double cgroup_cpus(std::string_view groups, const std::string& mount) {
  double least = limit_at(mount);
  std::istringstream lines{std::string(groups)};
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (path.empty() || path[0] != '/') continue;
    if (controllers.empty()) {
      least = std::min({least, limit_along(mount, path), limit_along(mount + "/unified", path)});
    } else if (has_cpu(controllers)) {
      least = std::min({least, limit_along(mount + "/" + controllers, path), limit_along(mount + "/cpu", path)});
    }
  }
  return least;
}

double cgroup_cpus() {
  std::ifstream file("/proc/self/cgroup");
  const std::string groups{std::istreambuf_iterator<char>(file), {}};
  return cgroup_cpus(groups, "/sys/fs/cgroup");
}

}  // namespace qeff
