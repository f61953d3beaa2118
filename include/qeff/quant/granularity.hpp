/// @file
/// Which elements of a matrix share a scale.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "qeff/core/error.hpp"

namespace qeff {

/// What shares a scale: all elements, a row, `group_size` neighbouring columns of a row, or a
/// square of group_size rows and columns.
enum class Granularity : std::uint8_t { per_tensor, per_channel, per_group, per_block };

/// Columns of one row that share a scale, 1..cols.
/// @throws InvalidArgument if a group size is needed and is zero.
[[nodiscard]] inline std::size_t columns_per_scale(Granularity granularity, std::size_t group_size,
                                                   std::size_t cols, const char* who) {
  if (granularity == Granularity::per_tensor || granularity == Granularity::per_channel)
    return cols;
  require(group_size > 0, who, ": group_size must be at least 1, not 0");
  return std::min(group_size, cols);
}

/// Group `g` of a row of values; the last group may be short.
[[nodiscard]] inline std::span<const float> group_of(std::span<const float> row, std::size_t g,
                                                     std::size_t group_size) noexcept {
  const std::size_t first = g * group_size;
  return row.subspan(first, std::min(group_size, row.size() - first));
}

}  // namespace qeff
