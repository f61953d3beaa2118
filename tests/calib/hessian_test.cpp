#include "qeff/calib/hessian.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/kernels/isa.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff {
namespace {

std::vector<float> random_rows(std::size_t rows, std::size_t k) {
  std::mt19937 rng(5);
  std::normal_distribution<float> normal;
  std::vector<float> x(rows * k);
  for (float& value : x) value = normal(rng);
  return x;
}

TEST(Hessian, IsTheMeanOfOuterProductsOverAllCalls) {
  constexpr std::size_t rows = 2400, k = 150;  // more than two chunks and more than one tile
  const std::vector<float> x = random_rows(rows, k);
  Executor executor(2);
  HessianAccumulator h(k);
  h.add({x.data(), 300, k}, executor);
  h.add({x.data() + 300 * k, rows - 300, k}, executor);
  ASSERT_EQ(h.rows(), rows);
  const std::vector<float> matrix = h.hessian(), mean_abs = h.mean_abs();
  for (std::size_t i = 0; i < k; i += 7) {
    double magnitude = 0;
    for (std::size_t r = 0; r < rows; ++r)
      magnitude += std::fabs(static_cast<double>(x[r * k + i]));
    EXPECT_NEAR(mean_abs[i], magnitude / rows, 1e-5);
    for (std::size_t j = 0; j < k; ++j) {
      double sum = 0, size = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        const double product = static_cast<double>(x[r * k + i]) * static_cast<double>(x[r * k + j]);
        sum += product, size += std::fabs(product);
      }
      EXPECT_NEAR(matrix[i * k + j], sum / rows, kernels::active().multiplies_bf16 ? 0x1p-8 * size / rows : 1e-4);
      EXPECT_EQ(matrix[i * k + j], matrix[j * k + i]);
    }
  }
}

TEST(Hessian, DriftIsTheMeanOfInputsTimesWhatTheFloatModelHasMore) {
  constexpr std::size_t rows = 1400, k = 150;
  const std::vector<float> x = random_rows(rows, k);
  std::vector<float> x_float(x);
  for (std::size_t i = 0; i < x.size(); ++i) x_float[i] += 0.25F * x[(i * 31 + 7) % x.size()];
  x_float[3 * k + 5] = std::numeric_limits<float>::infinity();  // the row is skipped in both
  Executor executor(2);
  HessianAccumulator h(k), plain(k);
  h.add({x.data(), rows, k}, {x_float.data(), rows, k}, executor);
  EXPECT_EQ(h.rows(), rows - 1);
  const std::vector<float> drift = h.drift();
  for (std::size_t i = 0; i < k; i += 7)
    for (std::size_t j = 0; j < k; ++j) {
      double sum = 0;
      for (std::size_t r = 0; r < rows; ++r)
        if (r != 3)
          sum += static_cast<double>(x[r * k + i]) *
                 (static_cast<double>(x_float[r * k + j]) - static_cast<double>(x[r * k + j]));
      EXPECT_NEAR(drift[i * k + j], sum / (rows - 1), 1e-4);
    }
  plain.add({x.data(), rows, k}, executor);
  EXPECT_TRUE(plain.drift().empty());
  EXPECT_THROW(h.add({x.data(), 2, k}, {x_float.data(), 1, k}, executor), InvalidArgument);
}

TEST(Hessian, BytesDoNotDependOnTheThreadCount) {
  const std::vector<float> x = random_rows(1300, 300);
  HessianAccumulator one(300), two(300);
  Executor single(1), pair(2);
  one.add({x.data(), 1300, 300}, single);
  two.add({x.data(), 1300, 300}, pair);
  EXPECT_EQ(one.hessian(), two.hessian());
  EXPECT_EQ(one.mean_abs(), two.mean_abs());
}

TEST(Hessian, HonoursStrides) {
  const std::vector<float> x = random_rows(6, 4);
  std::vector<float> transposed(24);
  for (std::size_t r = 0; r < 6; ++r)
    for (std::size_t c = 0; c < 4; ++c) transposed[c * 6 + r] = x[r * 4 + c];
  Executor executor(1);
  HessianAccumulator plain(4), strided(4), reversed(4);
  plain.add({x.data(), 6, 4}, executor);
  strided.add({transposed.data(), 6, 4, 1, 6}, executor);
  EXPECT_EQ(plain.hessian(), strided.hessian());
  reversed.add({x.data() + 5 * 4, 6, 4, -4, 1}, executor);
  EXPECT_NEAR(reversed.hessian()[1], plain.hessian()[1], 1e-6);
}

TEST(Hessian, SkipsAndCountsRowsThatAreNotFinite) {
  std::vector<float> x = random_rows(5, 3);
  Executor executor(1);
  HessianAccumulator clean(3), dirty(3);
  clean.add({x.data(), 1, 3}, executor);
  clean.add({x.data() + 6, 1, 3}, executor);
  clean.add({x.data() + 12, 1, 3}, executor);
  x[4] = std::numeric_limits<float>::quiet_NaN();
  x[9] = std::numeric_limits<float>::infinity();
  dirty.add({x.data(), 5, 3}, executor);
  EXPECT_EQ(dirty.rows(), 3U);
  EXPECT_EQ(dirty.skipped_rows(), 2U);
  for (std::size_t i = 0; i < 9; ++i) EXPECT_NEAR(dirty.hessian()[i], clean.hessian()[i], 1e-6);
}

TEST(Hessian, WithoutRowsIsZero) {
  const HessianAccumulator h(2);
  EXPECT_EQ(h.hessian(), std::vector<float>(4, 0.0F));
  EXPECT_EQ(h.mean_abs(), std::vector<float>(2, 0.0F));
}

TEST(Hessian, RefusesWrongShapes) {
  Executor executor(1);
  EXPECT_THROW(HessianAccumulator(0), InvalidArgument);
  HessianAccumulator h(3);
  const std::vector<float> x(8);
  EXPECT_THROW(h.add({x.data(), 2, 4}, executor), InvalidArgument);
}

}  // namespace
}  // namespace qeff
