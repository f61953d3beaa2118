/// @file
/// The grid of one group of values: how a float becomes an integer code and back.
///
///     S = (max - min) / (qmax - qmin)        symmetric: S = max(|min|, |max|) / (2^(bits-1) - 1)
///     Z = qmin - round(min / S)              symmetric: Z = 0 (signed) or 2^(bits-1) (unsigned)
///     code = clamp(round(x / S) + Z, qmin, qmax)
///     x'   = S * (code - Z)
///
/// round() is to nearest, ties to even. The range is widened to contain 0, which is therefore
/// exact. |x - x'| <= S / 2 for every finite x of the fitted range (up to float rounding), except
/// above FLT_MAX / 2, where S is cut so that no code decodes to Inf. S is at least FLT_MIN: it and
/// its reciprocal are normal numbers. A range of zero length gets S = 1.
///
/// Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
/// Integer-Arithmetic-Only Inference", CVPR 2018, section 2.1; ONNX QuantizeLinear.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace qeff {

/// Integer grid of one group; codes are in [qmin, qmax], which contains zero_point.
struct AffineGrid {
  float scale = 1.0f;           ///< Distance of neighbouring codes in units of x; > 0.
  std::int32_t zero_point = 0;  ///< Code of 0.0.
  int qmin = 0;
  int qmax = 255;
};

/// `x` rounded to an integer, ties to even: one addition the compiler can vectorize on any CPU.
/// @pre |x| < 2^22, rounding mode to nearest
[[nodiscard]] constexpr float round_half_even(float x) noexcept {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: the sum has an ulp of 1.
  return (x + kShift) - kShift;
}

/// round(x / S), clamped to the grid: the signed distance of the code from the zero point.
/// @pre |qmin|, |qmax| <= 65535. Infinities saturate; NaN gives the lowest code.
[[nodiscard]] constexpr float steps_from_zero(float x, const AffineGrid& grid) noexcept {
  const auto first = static_cast<float>(grid.qmin - grid.zero_point);
  const auto last = static_cast<float>(grid.qmax - grid.zero_point);
  const float steps = x / grid.scale;
  const float below = last < steps ? last : steps;
  return round_half_even(first < below ? below : first);
}

/// Code of one value; as steps_from_zero().
[[nodiscard]] constexpr std::int32_t encode(float x, const AffineGrid& grid) noexcept {
  return static_cast<std::int32_t>(steps_from_zero(x, grid)) + grid.zero_point;
}

/// Value of one code.
[[nodiscard]] constexpr float decode(std::int32_t code, const AffineGrid& grid) noexcept {
  return grid.scale * static_cast<float>(code - grid.zero_point);
}

namespace detail {

/// (hi - lo) / steps, where hi - lo may overflow.
[[nodiscard]] constexpr float divided_range(float lo, float hi, float steps) noexcept {
  constexpr float kHalf = std::numeric_limits<float>::max() / 2;
  return hi <= kHalf && lo >= -kHalf ? (hi - lo) / steps : hi / steps - lo / steps;
}

/// The grid with its scale cut so that its outermost code decodes to a finite value.
[[nodiscard]] constexpr AffineGrid finite(AffineGrid grid) noexcept {
  constexpr float kMax = std::numeric_limits<float>::max();
  const auto reach =
      static_cast<float>(std::max(grid.zero_point - grid.qmin, grid.qmax - grid.zero_point));
  // One part in 2^22 below the limit, so that the product cannot round up to Inf.
  const float limit = kMax / reach * (1.0f - 0x1p-22f);
  grid.scale = std::min(grid.scale, limit);
  return grid;
}

}  // namespace detail

/// The smallest grid of 2..8 `bits` that covers [lo, hi] and 0.
/// Symmetric signed codes stay in +-(2^(bits-1) - 1). @pre lo and hi are finite.
[[nodiscard]] constexpr AffineGrid fit_affine(float lo, float hi, int bits, bool symmetric,
                                              bool is_signed) noexcept {
  const int half = 1 << (bits - 1);
  AffineGrid grid;
  grid.qmin = !is_signed ? 0 : symmetric ? 1 - half : -half;
  grid.qmax = is_signed ? half - 1 : 2 * half - 1;
  grid.zero_point = symmetric ? (is_signed ? 0 : half) : grid.qmin;
  lo = std::min(lo, 0.0f);
  hi = std::max(hi, 0.0f);
  if (lo == 0.0f && hi == 0.0f) return grid;

  constexpr float kSmallest = std::numeric_limits<float>::min();
  if (symmetric) {
    grid.scale = std::max(std::max(-lo, hi) / static_cast<float>(half - 1), kSmallest);
    return detail::finite(grid);
  }
  const auto steps = static_cast<float>(grid.qmax - grid.qmin);
  grid.scale = std::max(detail::divided_range(lo, hi, steps), kSmallest);
  const float below = std::min(round_half_even(-lo / grid.scale), steps);
  grid.zero_point = grid.qmin + static_cast<std::int32_t>(below);
  return detail::finite(grid);
}

}  // namespace qeff
