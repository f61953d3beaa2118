/// @file
/// Choosers of the range [lo, hi] a grid must cover: all values, most of them, or the ones that
/// matter for the squared error.
///
/// Values are a contiguous, non-empty and finite run of floats: one group, row or tensor.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "qeff/math/statistics.hpp"
#include "qeff/quant/affine_grid.hpp"

namespace qeff {

/// How the range of a group is chosen.
enum class RangeMethod : std::uint8_t {
  minmax,      ///< smallest and largest value
  percentile,  ///< values outside of the central `percentile` percent are clipped
  mse          ///< the shrunken min-max range with the least squared error
};

/// What a grid is fitted to, apart from the values.
struct GridShape {
  int bits = 8;
  bool symmetric = true;
  bool is_signed = true;
};

/// A closed interval.
struct Range {
  float lo = 0.0f;
  float hi = 0.0f;
};

[[nodiscard]] inline Range minmax_range(std::span<const float> values) noexcept {
  Range range{values[0], values[0]};
  for (const float x : values) {
    range.lo = x < range.lo ? x : range.lo;
    range.hi = x > range.hi ? x : range.hi;
  }
  return range;
}

/// The range from the (100 - percentile)-th to the percentile-th percentile, linearly interpolated.
/// @param percentile  in (50, 100].
[[nodiscard]] inline Range percentile_range(std::span<const float> values, double percentile) {
  std::vector<float> scratch(values.begin(), values.end());
  const float lo = math::percentile(scratch, 100.0 - percentile);
  return {lo, math::percentile(scratch, percentile)};
}

/// Sum of squared differences of `values` and their quantized values.
[[nodiscard]] inline double squared_error(std::span<const float> values,
                                          const AffineGrid& grid) noexcept {
  double sum = 0.0;
  for (const float x : values) {
    const double error = static_cast<double>(grid.scale * steps_from_zero(x, grid)) - x;
    sum += error * error;
  }
  return sum;
}

/// The range factor * [min, max], factor in 1.00, 0.98, ..., 0.20, whose grid has the least squared
/// error; of equal ones the widest.
[[nodiscard]] inline Range mse_range(std::span<const float> values,
                                     const GridShape& shape) noexcept {
  const Range full = minmax_range(values);
  Range best = full;
  double least = std::numeric_limits<double>::infinity();
  for (int step = 0; step <= 40; ++step) {
    const float factor = 1.0f - 0.02f * static_cast<float>(step);
    const Range range{full.lo * factor, full.hi * factor};
    const auto grid = fit_affine(range.lo, range.hi, shape.bits, shape.symmetric, shape.is_signed);
    const double error = squared_error(values, grid);
    if (error < least) {
      least = error;
      best = range;
    }
  }
  return best;
}

/// The grid of `shape` for the range of `values` that `method` chooses.
[[nodiscard]] inline AffineGrid fit_values(std::span<const float> values, const GridShape& shape,
                                           RangeMethod method, double percentile) {
  const Range range = method == RangeMethod::minmax       ? minmax_range(values)
                      : method == RangeMethod::percentile ? percentile_range(values, percentile)
                                                          : mse_range(values, shape);
  return fit_affine(range.lo, range.hi, shape.bits, shape.symmetric, shape.is_signed);
}

}  // namespace qeff
