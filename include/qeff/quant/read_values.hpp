/// @file
/// From a borrowed matrix of any strides and element type to contiguous, checked floats.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

#include "qeff/core/error.hpp"
#include "qeff/core/matrix_view.hpp"

namespace qeff {

/// Copies row `r` of `w` to `out` as floats. @param who  The caller's name, for the message.
/// @throws InvalidArgument naming row and column of the first NaN or infinity.
template <class T>
void read_row(MatrixView<const T> w, std::size_t r, std::span<float> out, const char* who) {
  bool all_finite = true;
  for (std::size_t c = 0; c < w.cols; ++c) {
    const float x = static_cast<float>(w(r, c));
    out[c] = x;
    all_finite &= std::fabs(x) <= std::numeric_limits<float>::max();
  }
  for (std::size_t c = 0; c < w.cols && !all_finite; ++c)
    require(std::isfinite(out[c]), who, ": w[", r, ", ", c, "] is ", out[c],
            "; weights must be finite");
}

/// Throws InvalidArgument unless `w` has elements.
template <class T>
void require_elements(MatrixView<const T> w, const char* who) {
  require(w.data && w.rows > 0 && w.cols > 0, who, ": the matrix is empty, shape (", w.rows, ", ",
          w.cols, ")");
}

}  // namespace qeff
