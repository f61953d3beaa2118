/// @file
/// Small problems and naive double-precision answers for the tests of calib/.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "qeff/core/matrix_view.hpp"
#include "qeff/quant/affine_grid.hpp"
#include "qeff/quant/quantized_matrix.hpp"

namespace qeff::testing {

/// Weights (n, k) and the Hessian (k, k) of `rows` correlated inputs.
struct Problem {
  std::size_t n, k;
  std::vector<float> w, h, mean_abs;

  [[nodiscard]] MatrixView<const float> weights() const { return {w.data(), n, k}; }
  [[nodiscard]] MatrixView<const float> hessian() const { return {h.data(), k, k}; }
};

/// Inputs share a few directions and have channels of very different size, as activations do.
inline Problem make_problem(std::size_t n, std::size_t k, unsigned seed = 1, std::size_t rows = 0) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  Problem p{n, k, std::vector<float>(n * k), std::vector<float>(k * k), std::vector<float>(k)};
  for (float& x : p.w) x = normal(rng) * 0.1F;
  std::vector<float> size(k), mix(4 * k), x(k);
  for (float& s : size) s = std::exp(normal(rng));
  for (float& m : mix) m = normal(rng);
  if (rows == 0) rows = 3 * k;
  std::vector<double> sum(k * k);
  for (std::size_t r = 0; r < rows; ++r) {
    const float a = normal(rng), b = normal(rng), c = normal(rng), d = normal(rng);
    for (std::size_t i = 0; i < k; ++i) {
      const float* m = mix.data() + 4 * i;
      x[i] = size[i] * (normal(rng) + m[0] * a + m[1] * b + m[2] * c + m[3] * d);
      p.mean_abs[i] += std::fabs(x[i]) / static_cast<float>(rows);
    }
    for (std::size_t i = 0; i < k; ++i)
      for (std::size_t j = 0; j < k; ++j)
        sum[i * k + j] += static_cast<double>(x[i]) * static_cast<double>(x[j]);
  }
  for (std::size_t i = 0; i < k * k; ++i)
    p.h[i] = static_cast<float>(sum[i] / static_cast<double>(rows));
  return p;
}

/// Values of a quantized matrix, without input_scale.
inline std::vector<float> values_of(const QuantizedMatrix& q) {
  std::vector<float> out(q.rows * q.cols);
  for (std::size_t r = 0; r < q.rows; ++r)
    for (std::size_t c = 0; c < q.cols; ++c) {
      const std::size_t g = q.group_index(r, c);
      const std::int32_t zero = q.zero_points.empty() ? 0 : q.zero_points[g];
      out[r * q.cols + c] = q.scales[g] * static_cast<float>(q.code(r, c) - zero);
    }
  return out;
}

/// tr((V - W) H (V - W)^T)
inline double loss_of(const Problem& p, std::span<const float> values) {
  double sum = 0;
  std::vector<double> e(p.k);
  for (std::size_t r = 0; r < p.n; ++r) {
    for (std::size_t c = 0; c < p.k; ++c)
      e[c] = static_cast<double>(values[r * p.k + c]) - static_cast<double>(p.w[r * p.k + c]);
    for (std::size_t i = 0; i < p.k; ++i)
      for (std::size_t j = 0; j < p.k; ++j)
        sum += e[i] * static_cast<double>(p.h[i * p.k + j]) * e[j];
  }
  return sum;
}

/// Round to nearest in the min-max range of each group.
inline std::vector<float> nearest(const Problem& p, int bits, std::size_t group_size,
                                  bool symmetric) {
  std::vector<float> out(p.n * p.k);
  for (std::size_t r = 0; r < p.n; ++r)
    for (std::size_t begin = 0; begin < p.k; begin += group_size) {
      const std::size_t end = std::min(p.k, begin + group_size);
      float lo = 0, hi = 0;
      for (std::size_t c = begin; c < end; ++c) {
        lo = std::min(lo, p.w[r * p.k + c]);
        hi = std::max(hi, p.w[r * p.k + c]);
      }
      const AffineGrid grid = fit_affine(lo, hi, bits, symmetric, symmetric);
      for (std::size_t c = begin; c < end; ++c)
        out[r * p.k + c] = decode(encode(p.w[r * p.k + c], grid), grid);
    }
  return out;
}

/// Upper U with (H + damp mean(diag) I)^-1 = U^T U, by the textbook: invert, then Cholesky.
inline std::vector<double> reference_factor(const Problem& p, double damp) {
  const std::size_t k = p.k;
  double mean = 0;
  for (std::size_t i = 0; i < k; ++i)
    mean += static_cast<double>(p.h[i * k + i]) / static_cast<double>(k);
  std::vector<double> a(p.h.begin(), p.h.end()), inverse(k * k), u(k * k);
  for (std::size_t i = 0; i < k; ++i) {
    a[i * k + i] += damp * mean;
    inverse[i * k + i] = 1;
  }
  for (std::size_t c = 0; c < k; ++c) {  // Gauss-Jordan; A is positive definite: no pivoting
    const double pivot = a[c * k + c];
    for (std::size_t j = 0; j < k; ++j) a[c * k + j] /= pivot, inverse[c * k + j] /= pivot;
    for (std::size_t r = 0; r < k; ++r) {
      if (r == c) continue;
      const double f = a[r * k + c];
      for (std::size_t j = 0; j < k; ++j) {
        a[r * k + j] -= f * a[c * k + j];
        inverse[r * k + j] -= f * inverse[c * k + j];
      }
    }
  }
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = i; j < k; ++j) {
      double sum = inverse[i * k + j];
      for (std::size_t t = 0; t < i; ++t) sum -= u[t * k + i] * u[t * k + j];
      u[i * k + j] = i == j ? std::sqrt(sum) : sum / u[i * k + i];
    }
  return u;
}

/// GPTQ as the paper has it, column by column, min-max ranges of the corrected weights.
inline std::vector<std::int32_t> reference_gptq(const Problem& p, int bits, std::size_t group_size,
                                                bool symmetric, double damp) {
  const std::size_t k = p.k;
  const std::vector<double> u = reference_factor(p, damp);
  std::vector<std::int32_t> codes(p.n * k);
  for (std::size_t r = 0; r < p.n; ++r) {
    std::vector<double> w(p.w.begin() + static_cast<std::ptrdiff_t>(r * k),
                          p.w.begin() + static_cast<std::ptrdiff_t>((r + 1) * k));
    AffineGrid grid;
    for (std::size_t c = 0; c < k; ++c) {
      if (c % group_size == 0) {
        double lo = 0, hi = 0;
        for (std::size_t j = c; j < std::min(k, c + group_size); ++j)
          lo = std::min(lo, w[j]), hi = std::max(hi, w[j]);
        grid =
            fit_affine(static_cast<float>(lo), static_cast<float>(hi), bits, symmetric, symmetric);
      }
      codes[r * k + c] = encode(static_cast<float>(w[c]), grid);
      const double error =
          (w[c] - static_cast<double>(decode(codes[r * k + c], grid))) / u[c * k + c];
      for (std::size_t j = c + 1; j < k; ++j) w[j] -= error * u[c * k + j];
    }
  }
  return codes;
}

}  // namespace qeff::testing
