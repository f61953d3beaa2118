/// @file
/// The version of qeff; the only place it is written (CMake and Python read this line).
#pragma once

#include <string_view>

namespace qeff {

inline constexpr std::string_view version = "0.1.0";

}  // namespace qeff
