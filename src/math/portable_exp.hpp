/// @file
/// exp(x) in double by additions and multiplications only: the same bits on every platform, which
/// the C library does not promise. Cody and Waite's reduction x = k ln 2 + r, Taylor's series of
/// degree 13 for |r| <= ln 2 / 2 (remainder below 5e-18), then 2^k by its bits.
#pragma once

#include <bit>
#include <cstdint>

namespace qeff {

/// sum r^n + coefficients[1] r^(n-1) + ...
template <class... Coefficients>
[[nodiscard]] constexpr double horner(double r, double sum, Coefficients... coefficients) noexcept {
  ((sum = sum * r + coefficients), ...);
  return sum;
}

/// exp(x) for x <= 0, within 2 units in the last place; 0 below -708 and for NaN.
[[nodiscard]] inline double portable_exp(double x) noexcept {
  constexpr double rounder = 0x1.8p52;          // adding it leaves the integer in the low bits
  constexpr double ln2_high = 0x1.62e42feep-1;  // 32 bits: its products with k are exact
  constexpr double ln2_low = 0x1.a39ef35793c76p-33;
  const double shifted = x * 0x1.71547652b82fep0 + rounder;
  const double k = shifted - rounder;
  const double r = (x - k * ln2_high) - k * ln2_low;
  const double sum =
      horner(r, 1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880,
             1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0);
  const std::uint64_t exponent = std::bit_cast<std::uint64_t>(shifted) << 52;
  const double result = std::bit_cast<double>(std::bit_cast<std::uint64_t>(sum) + exponent);
  return x > -708.0 ? result : 0;
}

}  // namespace qeff
