/// @file
/// The order in which GPTQ rounds the columns, and where groups begin in it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace qeff::calib {

/// A permutation of the columns; whole groups stay together unless it is that of desc_act.
struct ColumnOrder {
  std::vector<std::size_t> columns;       ///< Column at each position.
  std::vector<std::size_t> group_begins;  ///< Positions where a group begins, ascending; empty when
                                          ///< groups are not contiguous in this order (desc_act).
};

/// Falling importance of columns (desc_act), of whole groups and of columns within them
/// (group_aware), or as they are. Equals keep their order.
[[nodiscard]] ColumnOrder column_order(std::span<const double> importance, std::size_t group_size,
                                       bool desc_act, bool group_aware);

}  // namespace qeff::calib
