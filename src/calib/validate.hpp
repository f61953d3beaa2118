/// @file
/// The checks at the borders of calibration, GPTQ and AWQ.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <string_view>

#include "qeff/core/error.hpp"
#include "qeff/core/matrix_view.hpp"

namespace qeff::calib {

/// Whether no element is a NaN or an infinity. Without a branch an element, for vectors.
[[nodiscard]] inline bool all_finite(MatrixView<const float> m) noexcept {
  bool finite = true;
  for (std::size_t r = 0; r < m.rows; ++r)
    for (std::size_t c = 0; c < m.cols; ++c) finite &= std::fabs(m(r, c)) <= std::numeric_limits<float>::max();
  return finite;
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
