/// @file
/// Order statistics of a run of floats.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

namespace qeff::math {

/// The `percent`-th percentile, linearly interpolated between the two nearest values, as
/// numpy.percentile does. Reorders `values`.
/// @pre values is not empty and without NaN; percent in [0, 100].
[[nodiscard]] inline float percentile(std::span<float> values, double percent) noexcept {
  const double position = percent / 100.0 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::ptrdiff_t>(std::floor(position));
  std::nth_element(values.begin(), values.begin() + below, values.end());
  const double lower = values[static_cast<std::size_t>(below)];
  const double weight = position - static_cast<double>(below);
  if (weight == 0.0) return static_cast<float>(lower);
  const double upper = *std::min_element(values.begin() + below + 1, values.end());
  return static_cast<float>(lower + (upper - lower) * weight);
}

}  // namespace qeff::math
