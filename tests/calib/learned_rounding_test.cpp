#include "calib/learned_rounding.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "calib/calib_oracles.hpp"
#include "qeff/calib/gptq.hpp"
#include "qeff/kernels/matmul.hpp"
#include "qeff/quant/affine.hpp"

namespace qeff::calib {
namespace {

using testing::loss_of;
using testing::make_problem;
using testing::Problem;
using testing::values_of;

QuantizedMatrix gptq_start(const Problem& p, int bits, bool symmetric, Executor& executor) {
  GptqConfig config;
  config.bits = bits;
  config.group_size = 32;
  config.symmetric = symmetric;
  return gptq(p.weights(), p.hessian(), config, executor).matrix;
}

std::vector<float> floats_of(FloatMatrix& w) {
  std::vector<float> out(w.rows() * w.cols());
  for (std::size_t r = 0; r < w.rows(); ++r)
    for (std::size_t c = 0; c < w.cols(); ++c) out[r * w.cols() + c] = w.panel(r / 16)[c * 16 + r % 16];
  return out;
}

/// Adds the gradient of tr(E H E^T) / 2, E = W' - W.
void add_loss_gradient(const Problem& p, FloatMatrix& w) {
  const std::vector<float> now = floats_of(w);
  for (std::size_t r = 0; r < p.n; ++r)
    for (std::size_t c = 0; c < p.k; ++c) {
      float slope = 0;
      for (std::size_t j = 0; j < p.k; ++j) slope += (now[r * p.k + j] - p.w[r * p.k + j]) * p.h[j * p.k + c];
      w.gradient()[c * p.n + r] += slope;
    }
}

TEST(LearnedRounding, StartsAsTheMatrixItIsGiven) {
  Executor executor(2);
  const Problem p = make_problem(21, 100, 3);
  for (const int bits : {2, 3, 4, 8})
    for (const bool symmetric : {false, true}) {
      const QuantizedMatrix start = gptq_start(p, bits, symmetric, executor);
      LearnedRounding learned(p.weights(), start, executor);
      const std::vector<float> values = values_of(start), floats = floats_of(learned.weights());
      for (std::size_t i = 0; i < values.size(); ++i)
        ASSERT_NEAR(floats[i], values[i], 1e-6F * std::fabs(values[i])) << bits << " bits, element " << i;
      EXPECT_EQ(learned.result().codes, start.codes);
      EXPECT_EQ(learned.result().zero_points, start.zero_points);
    }
}

TEST(LearnedRounding, LowersALossThatItIsGivenTheGradientOf) {
  Executor executor(2);
  const Problem p = make_problem(18, 96, 4);
  for (const bool symmetric : {false, true}) {
    AffineConfig config{.bits = 4, .is_signed = symmetric, .symmetric = symmetric};
    config.granularity = Granularity::per_group;
    config.group_size = 32;
    const QuantizedMatrix start = quantize_affine(p.weights(), config);
    LearnedRounding learned(p.weights(), start, executor);
    const double before = loss_of(p, values_of(start));
    double best = before;
    constexpr int kSteps = 60;
    for (int i = 0; i < kSteps; ++i) {
      add_loss_gradient(p, learned.weights());
      const float left = 1 - static_cast<float>(i) / kSteps;
      learned.step({0.02F * left, 0.002F * left, 0}, executor);
      const double loss = loss_of(p, floats_of(learned.weights()));
      if (loss >= best) continue;
      best = loss;
      learned.keep();
    }
    const QuantizedMatrix result = learned.result();
    EXPECT_LT(best, 0.8 * before);
    EXPECT_NEAR(loss_of(p, values_of(result)), best, 1e-3 * best);
    const std::int32_t low = symmetric ? -7 : 0, high = symmetric ? 7 : 15;
    for (std::size_t r = 0; r < result.rows; ++r)
      for (std::size_t c = 0; c < result.cols; ++c) {
        ASSERT_GE(result.code(r, c), low);
        ASSERT_LE(result.code(r, c), high);
      }
  }
}

TEST(LearnedRounding, WithoutKeepTheResultIsTheStart) {
  Executor executor(1);
  const Problem p = make_problem(5, 64, 5);
  const QuantizedMatrix start = gptq_start(p, 4, false, executor);
  LearnedRounding learned(p.weights(), start, executor);
  std::fill_n(learned.weights().gradient(), 5 * 64, 1.0F);
  learned.step({0.5F, 0.1F, 0}, executor);
  EXPECT_NE(floats_of(learned.weights()), values_of(start));
  EXPECT_EQ(learned.result().codes, start.codes);
}

TEST(LearnedRounding, MomentumKeepsAShareOfTheGradient) {
  Executor executor(1);
  const Problem p = make_problem(5, 64, 5);
  LearnedRounding learned(p.weights(), gptq_start(p, 8, false, executor), executor);
  std::fill_n(learned.weights().gradient(), 5 * 64, 2.0F);
  learned.step({0, 0, 0.25F}, executor);
  EXPECT_EQ(learned.weights().gradient()[17], 0.5F);
}

TEST(LearnedRounding, MinimaAreTheBestValueOfEachWeightAlone) {
  Executor executor(2);
  const Problem p = make_problem(4, 48, 6);
  const QuantizedMatrix start = gptq_start(p, 3, false, executor);
  std::vector<float> w = p.w;
  move_to_minima({w.data(), p.n, p.k}, start, p.hessian(), executor);
  for (const std::size_t element : {0UL, 50UL, 191UL}) {
    std::vector<float> values = values_of(start);
    values[element] = w[element];
    const double best = loss_of(p, values);
    for (const float shift : {-0.01F, 0.01F}) {
      values[element] = w[element] + shift;
      EXPECT_GT(loss_of(p, values), best);
    }
  }
}

TEST(FloatMatrix, ProductsAreThoseOfTheMatrix) {
  constexpr std::size_t n = 37, k = 50, m = 23;
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  const auto random = [&](std::size_t count) {
    std::vector<float> values(count);
    for (float& v : values) v = normal(rng);
    return values;
  };
  const std::vector<float> w = random(n * k), x = random(m * k), dy = random(m * n);
  Executor executor(2);
  FloatMatrix matrix(n, k);
  matrix.set({w.data(), n, k});
  std::vector<float> y(m * n), dx(m * k);
  matmul(MatrixView<const float>{x.data(), m, k}, matrix.view(), MatrixView<float>{y.data(), m, n}, {}, executor);
  matrix.multiply_transposed({dy.data(), m, n}, {dx.data(), m, k}, executor);
  for (int i = 0; i < 2; ++i) matrix.add_gradient({dy.data(), m, n}, {x.data(), m, k}, executor);
  for (std::size_t r = 0; r < m; ++r) {
    for (std::size_t i = 0; i < n; ++i) {
      double sum = 0;
      for (std::size_t c = 0; c < k; ++c) sum += static_cast<double>(x[r * k + c]) * static_cast<double>(w[i * k + c]);
      ASSERT_NEAR(y[r * n + i], sum, 1e-4);
    }
    for (std::size_t c = 0; c < k; ++c) {
      double sum = 0;
      for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(dy[r * n + i]) * static_cast<double>(w[i * k + c]);
      ASSERT_NEAR(dx[r * k + c], sum, 1e-4);
    }
  }
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t c = 0; c < k; ++c) {
      double sum = 0;
      for (std::size_t r = 0; r < m; ++r) sum += static_cast<double>(dy[r * n + i]) * static_cast<double>(x[r * k + c]);
      ASSERT_NEAR(matrix.gradient()[c * n + i], 2 * sum, 2e-4);
    }
}

}  // namespace
}  // namespace qeff::calib
