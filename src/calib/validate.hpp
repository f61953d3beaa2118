/// @file
/// The checks at the borders of calibration, GPTQ and AWQ.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "qeff/core/error.hpp"
#include "qeff/core/matrix_view.hpp"

namespace qeff::calib {

/// Whether no element is a NaN or an infinity, whose exponents are all ones: one more carries into the sign.
[[nodiscard]] inline bool all_finite(MatrixView<const float> m) noexcept {
  std::uint32_t carried = 0;
  const auto look_at = [&](float x) { carried |= (std::bit_cast<std::uint32_t>(x) & 0x7f800000U) + 0x00800000U; };
  for (std::size_t r = 0; r < m.rows; ++r) {
    if (m.contiguous_rows())
      for (const float x : std::span(m.row(r), m.cols)) look_at(x);
    else
      for (std::size_t c = 0; c < m.cols; ++c) look_at(m(r, c));
  }
  return carried < 0x80000000U;
}

/// @throws InvalidArgument unless w is a finite (n, k), n, k >= 1, hessian (k, k), bits 2..8.
inline void check_inputs(std::string_view who, MatrixView<const float> w,
                         MatrixView<const float> hessian, int bits) {
  require(bits >= 2 && bits <= 8, who, ": bits is ", bits, ", expected 2..8");
  require(w.rows > 0 && w.cols > 0, who, ": the weights have shape (", w.rows, ", ", w.cols,
          "), expected at least one element");
  require(hessian.rows == w.cols && hessian.cols == w.cols, who, ": the Hessian has shape (",
          hessian.rows, ", ", hessian.cols, "), expected (", w.cols, ", ", w.cols, ")");
  for (std::size_t r = 0; r < w.rows; ++r)
    for (std::size_t c = 0; c < w.cols; ++c)
      require(std::isfinite(w(r, c)), who, ": the weight at (", r, ", ", c, ") is ", w(r, c),
              ", expected a finite number");
}

}  // namespace qeff::calib
