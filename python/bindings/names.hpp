/// @file
/// Enumerators that cross the border to Python as names.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "qeff/core/error.hpp"

namespace qeff::python {

/// The place of `name` in `names`.
template <std::size_t N>
std::size_t place(const std::array<std::string_view, N>& names, std::string_view name,
                  const char* what) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  std::string list;
  for (const auto n : names) {
    if (!list.empty()) list += ", ";
    list += n;
  }
  throw InvalidArgument(str(what, " \"", name, "\" is none of ", list));
}

}  // namespace qeff::python
