#include "calib/damped_hessian.hpp"

#include <algorithm>
#include <cmath>

#include "calib/inverse_cholesky.hpp"
#include "calib/validate.hpp"
#include "qeff/core/error.hpp"

namespace qeff::calib {
namespace {

constexpr double kDefaultDamping = 0.01;  // first step of the ladder when none was asked for
constexpr double kDiagonalFloor = 1e-6;   // share of the largest diagonal element

/// values[order][order] with `damping` added to the diagonal, lower triangle only.
std::vector<float> permuted(const DampedHessian& h, std::span<const std::size_t> order, double damping) {
  std::vector<float> out(h.k * h.k);
  for (std::size_t i = 0; i < h.k; ++i) {
    for (std::size_t j = 0; j <= i; ++j) out[i * h.k + j] = h.values[order[i] * h.k + order[j]];
    out[i * h.k + i] += static_cast<float>(damping);
  }
  return out;
}

void floor_diagonal(DampedHessian& h) {
  float largest = 0;
  for (std::size_t i = 0; i < h.k; ++i) largest = std::max(largest, h.values[i * h.k + i]);
  for (std::size_t i = 0; i < h.k; ++i) {
    float& d = h.values[i * h.k + i];
    const float raised = std::max(d, static_cast<float>(kDiagonalFloor) * largest);
    h.added[i] += raised - d;
    d = raised;
  }
}

bool try_damping(DampedHessian& h, std::span<const std::size_t> order, double percent,
                 Executor& executor) {
  if (!inverse_cholesky(permuted(h, order, percent), h.k, h.factor.data(), executor))
    return false;
  for (std::size_t i = 0; i < h.k; ++i) {
    h.values[i * h.k + i] += static_cast<float>(percent);
    h.added[i] += static_cast<float>(percent);
  }
  h.damp_percent = percent;
  return true;
}

}  // namespace

DampedHessian normalize_hessian(MatrixView<const float> hessian) {
  DampedHessian h;
  h.k = hessian.rows;
  if (!all_finite(hessian)) {
    h.failure = "the Hessian has a NaN or an infinity";
    return h;
  }
  double diagonal = 0;
  for (std::size_t i = 0; i < h.k; ++i) {
    diagonal += std::max(0.0, static_cast<double>(hessian(i, i)));
    if (hessian(i, i) == 0) ++h.dead_columns;
  }
  if (!(diagonal > 0)) {
    h.failure = "the Hessian has no positive diagonal element";
    return h;
  }
  const double scale = static_cast<double>(h.k - h.dead_columns) / diagonal;
  h.mean_diagonal = diagonal / static_cast<double>(h.k - h.dead_columns);
  h.values.resize(h.k * h.k);
  h.added.resize(h.k);
  for (std::size_t i = 0; i < h.k; ++i) {
    for (std::size_t j = 0; j < h.k; ++j) {
      const bool dead = hessian(i, i) == 0 || hessian(j, j) == 0;
      const double sum = static_cast<double>(hessian(i, j)) + static_cast<double>(hessian(j, i));
      h.values[i * h.k + j] =
          dead ? static_cast<float>(i == j) : static_cast<float>(sum / 2 * scale);
    }
    h.added[i] = hessian(i, i) == 0 ? 1.0F : 0.0F;
  }
  return h;
}

void damp_and_factor(DampedHessian& h, std::span<const std::size_t> order, double damp_percent,
                     Executor& executor) {
  h.factor.resize(h.k * h.k);
  if (try_damping(h, order, damp_percent, executor)) return;
  const double base = std::max(damp_percent, kDefaultDamping);
  for (const double step : {1.0, 2.0, 4.0, 10.0})
    if (base * step > damp_percent && try_damping(h, order, base * step, executor)) return;
  floor_diagonal(h);
  if (try_damping(h, order, std::max(1.0, base * 10), executor)) return;
  h.failure = str("the Hessian is not positive definite even damped by ", std::max(1.0, base * 10),
                  " times its mean diagonal");
}

}  // namespace qeff::calib
