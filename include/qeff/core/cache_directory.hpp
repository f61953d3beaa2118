/// @file
/// Where files go that can be made again.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace qeff {

/// QEFF_CACHE, else "qeff" in the user's cache directory; it need not be there.
inline std::filesystem::path cache_directory() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value == nullptr ? "" : value);
  };
  if (auto chosen = variable("QEFF_CACHE"); !chosen.empty()) return chosen;
  const auto base = variable("XDG_CACHE_HOME");
  return (base.empty() ? variable("HOME") / ".cache" : base) / "qeff";
}

}  // namespace qeff
