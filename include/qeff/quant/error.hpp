/// @file
/// How far a matrix is from what it stands for. All sums are in double.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

#include "qeff/core/error.hpp"
#include "qeff/core/matrix_view.hpp"

namespace qeff {

struct ErrorMetrics {
  double mse = 0;      ///< mean (a - b)^2
  double sqnr_db = 0;  ///< 10 log10(sum a^2 / sum (a - b)^2); infinity if equal
  double cosine = 0;   ///< a.b / (|a| |b|); 1 if both are zero, 0 if one is
  double max_abs = 0;  ///< max |a - b|
};

/// Compares `approximation` with `reference`. NaN anywhere makes every metric it reaches NaN.
/// @throws InvalidArgument for different shapes or an empty matrix.
[[nodiscard]] inline ErrorMetrics error_metrics(MatrixView<const float> reference,
                                                MatrixView<const float> approximation) {
  require(reference.rows == approximation.rows && reference.cols == approximation.cols,
          "error_metrics: shapes (", reference.rows, ", ", reference.cols, ") and (",
          approximation.rows, ", ", approximation.cols, ") differ");
  require(reference.rows > 0 && reference.cols > 0, "error_metrics: the matrices are empty");
  double signal = 0, noise = 0, power = 0, dot = 0;
  ErrorMetrics metrics;
  for (std::size_t r = 0; r < reference.rows; ++r) {
    for (std::size_t c = 0; c < reference.cols; ++c) {
      const double a = reference(r, c), b = approximation(r, c), e = a - b;
      signal += a * a;
      power += b * b;
      dot += a * b;
      noise += e * e;
      if (std::isnan(e) || std::fabs(e) > metrics.max_abs) metrics.max_abs = std::fabs(e);
    }
  }
  metrics.mse = noise / (static_cast<double>(reference.rows) * static_cast<double>(reference.cols));
  metrics.sqnr_db =
      noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  const double norms = std::sqrt(signal) * std::sqrt(power);
  metrics.cosine = norms == 0 ? (signal == power ? 1.0 : 0.0) : dot / norms;
  return metrics;
}

}  // namespace qeff
