/// @file
/// A calibration Hessian made fit for GPTQ: whatever came in, what goes out can be factored.
///
/// The ladder (N1, N2): dead columns get the mean diagonal and no neighbours; then damping 1, 2, 4
/// and 10 times as asked; then a floor under the diagonal with the most damping; then nothing, and
/// the caller rounds to nearest.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "qeff/core/executor.hpp"
#include "qeff/core/matrix_view.hpp"

namespace qeff::calib {

struct DampedHessian {
  std::size_t k = 0;
  std::vector<float> values;  ///< (k, k) symmetric, damped, mean diagonal of the live columns ~ 1.
  std::vector<float> added;   ///< (k) what of the diagonal is no calibration: damping, dead columns.
  std::vector<float> factor;  ///< (k, k) upper U in the order of the columns, values^-1 = U^T U.
  double mean_diagonal = 0;   ///< Of the live columns: what H was divided by.
  double damp_percent = 0;    ///< What was used.
  std::size_t dead_columns = 0;
  std::string failure;  ///< Empty, or why there is no factor.
};

/// H scaled to mean diagonal 1, dead columns set apart; `failure` if that is impossible.
[[nodiscard]] DampedHessian normalize_hessian(MatrixView<const float> hessian);

/// Damps `h` and factors it with its columns in `order`; `failure` if nothing helps.
void damp_and_factor(DampedHessian& h, std::span<const std::size_t> order, double damp_percent,
                     Executor& executor);

}  // namespace qeff::calib
