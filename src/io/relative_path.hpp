/// @file
/// File names that come from files.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace qeff {

/// Whether the name stays below its directory as it is written: not empty, not absolute, no "..",
/// no backslash, no NUL. Lexical on purpose: model caches are made of links that lead outside.
[[nodiscard]] inline bool stays_inside(std::string_view path) noexcept {
  if (path.empty() || path.front() == '/' || path.find('\\') != path.npos ||
      path.find('\0') != path.npos)
    return false;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (path.substr(begin, end - begin) == "..") return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace qeff
