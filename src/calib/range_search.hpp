/// @file
/// Which range a group of weights is rounded in: min-max, or the shrunk range with the smallest
/// error when element j counts with weight h_j.
///
///     minimize over scale and zero point  sum_j h_j (w_j - round(w_j))^2
///
/// Candidates: the min-max range times 1 .. 1 - max_shrink, each with the zero point next to it.
#pragma once

#include <span>

#include "calib/panel.hpp"

namespace qeff::calib {

struct RangeSearch {
  int bits = 4;
  bool symmetric = false;
  int candidates = 0;       ///< Shrinking factors tried; 0: min-max.
  float max_shrink = 0.5F;  ///< The smallest of them is 1 - max_shrink.
};

/// The grids of 16 rows of one group. @pre values.size() == weights.size() > 0, weights >= 0
[[nodiscard]] PanelGrid search_range(std::span<const Lanes> values, std::span<const float> weights,
                                     const RangeSearch& options);

}  // namespace qeff::calib
