// Residual add and layer normalization with every kernel table, against double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "support/emulation/emulated_tables.hpp"
#include "support/guarded_floats.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

constexpr float kEps = 1e-12f;  // BERT's

struct NormProblem {
  std::size_t m, n;
  test::GuardedFloats x, residual, gamma, beta, out;

  NormProblem(std::size_t rows, std::size_t cols, float mean = 0.5f)
      : m(rows), n(cols), x(m * n), residual(m * n), gamma(n), beta(n), out(m * n) {
    test::Rng rng(static_cast<unsigned>(n));
    for (std::size_t i = 0; i < m * n; ++i) x.data[i] = mean + rng.normal(), residual.data[i] = rng.normal();
    for (std::size_t i = 0; i < n; ++i) gamma.data[i] = rng.normal(), beta.data[i] = rng.normal();
  }
  void run(bool with_residual, float* to) const {
    kernels::active().layer_norm(x.data, with_residual ? residual.data : nullptr, gamma.data, beta.data, kEps, to, m, n);
  }
};

void expect_right(const NormProblem& p, bool with_residual, const float* out) {
  for (std::size_t r = 0; r < p.m; ++r) {
    std::vector<double> v(p.n);
    double mean = 0, variance = 0, largest = 0;
    for (std::size_t i = 0; i < p.n; ++i) {
      const float sum = p.x.data[r * p.n + i] + (with_residual ? p.residual.data[r * p.n + i] : 0.0f);
      v[i] = sum, mean += v[i] / static_cast<double>(p.n), largest = std::max(largest, std::abs(v[i]));
    }
    for (const double e : v) variance += (e - mean) * (e - mean) / static_cast<double>(p.n);
    const double scale = 1 / std::sqrt(variance + static_cast<double>(kEps));
    // The mean is off by a few roundings of the largest value, the rest by a few of the result.
    const double mean_error = largest * 0x1p-24 * (static_cast<double>(p.n) / 16 + 6);
    for (std::size_t i = 0; i < p.n; ++i) {
      const double normal = (v[i] - mean) * scale, g = p.gamma.data[i], b = p.beta.data[i];
      const double bound = std::abs(g) * scale * mean_error * 2 + 0x1p-24 * (std::abs(normal * g) * (static_cast<double>(p.n) / 16 + 12) + std::abs(b));
      ASSERT_NEAR(out[r * p.n + i], normal * g + b, bound) << "n " << p.n << " at (" << r << ", " << i << ")";
    }
  }
}

class LayerNormOnIsa : public test::IsaTest {};

TEST_P(LayerNormOnIsa, RowsOfAnyLengthAreRightAndStayInBounds) {
  for (const std::size_t n : {2u, 3u, 7u, 15u, 16u, 17u, 31u, 33u, 64u, 100u, 384u, 1023u})
    for (const bool with_residual : {false, true}) {
      const NormProblem p(3, n);
      p.run(with_residual, p.out.data);
      expect_right(p, with_residual, p.out.data);
    }
}

TEST_P(LayerNormOnIsa, ALargeMeanDoesNotEatTheVariance) {
  const NormProblem p(2, 200, 1000.0f);
  p.run(false, p.out.data);
  expect_right(p, false, p.out.data);
}

TEST_P(LayerNormOnIsa, InPlaceGivesTheSameBytes) {
  const NormProblem p(4, 77);
  p.run(true, p.out.data);
  const std::vector<float> expected(p.out.data, p.out.data + 4 * 77);
  p.run(true, p.x.data);
  EXPECT_EQ(0, std::memcmp(p.x.data, expected.data(), expected.size() * sizeof(float)));
}

TEST_P(LayerNormOnIsa, ConstantRowsAndRowsOfOneGiveBeta) {
  for (const std::size_t n : {1u, 16u, 19u}) {
    const NormProblem p(2, n);
    std::fill_n(p.x.data, 2 * n, 3.0f);
    p.run(false, p.out.data);
    for (std::size_t i = 0; i < 2 * n; ++i) EXPECT_EQ(p.out.data[i], p.beta.data[i % n]);
  }
}

TEST_P(LayerNormOnIsa, NanSpoilsItsOwnRowOnly) {
  const NormProblem p(3, 37);
  p.x.data[37 + 36] = NAN;
  p.run(false, p.out.data);
  for (std::size_t i = 0; i < 37; ++i) {
    EXPECT_TRUE(std::isfinite(p.out.data[i]));
    EXPECT_TRUE(std::isnan(p.out.data[37 + i]));
    EXPECT_TRUE(std::isfinite(p.out.data[74 + i]));
  }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(LayerNormOnIsa);

}  // namespace
}  // namespace qeff
