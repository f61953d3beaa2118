#include "calib/inverse_cholesky.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace qeff::calib {
namespace {

/// B B^T + I for a random B: positive definite.
std::vector<float> random_spd(std::size_t k, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<double> normal;
  std::vector<double> b(k * k);
  std::vector<float> a(k * k);
  for (double& x : b) x = normal(rng);
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j) {
      double sum = i == j;
      for (std::size_t t = 0; t < k; ++t)
        sum += b[i * k + t] * b[j * k + t] / static_cast<double>(k);
      a[i * k + j] = static_cast<float>(sum);
    }
  return a;
}

TEST(InverseCholesky, FactorTimesItselfIsTheInverse) {
  Executor executor(2);
  for (const std::size_t k : {1, 2, 7, 16, 64, 65, 150, 300}) {
    const std::vector<float> a = random_spd(k, 3);
    std::vector<float> u(k * k);
    ASSERT_TRUE(inverse_cholesky(a, k, u.data(), executor));
    std::vector<double> ut_u(k * k);
    for (std::size_t t = 0; t < k; ++t)
      for (std::size_t i = 0; i < k; ++i)
        for (std::size_t j = 0; j < k; ++j)
          ut_u[i * k + j] += static_cast<double>(u[t * k + i]) * static_cast<double>(u[t * k + j]);
    for (std::size_t i = 0; i < k; ++i)
      for (std::size_t j = 0; j < k; ++j) {
        double product = 0;
        for (std::size_t t = 0; t < k; ++t) product += static_cast<double>(a[i * k + t]) * ut_u[t * k + j];
        EXPECT_NEAR(product, i == j ? 1.0 : 0.0, 1e-4) << k << ": " << i << ", " << j;
      }
  }
}

TEST(InverseCholesky, FactorIsUpperWithAPositiveDiagonal) {
  Executor executor(1);
  constexpr std::size_t k = 130;
  std::vector<float> u(k * k, 7.0F);
  ASSERT_TRUE(inverse_cholesky(random_spd(k, 4), k, u.data(), executor));
  for (std::size_t i = 0; i < k; ++i) {
    EXPECT_GT(u[i * k + i], 0.0F);
    for (std::size_t j = 0; j < i; ++j) EXPECT_EQ(u[i * k + j], 0.0F);
  }
}

TEST(InverseCholesky, OnlyTheLowerTriangleIsRead) {
  Executor executor(1);
  constexpr std::size_t k = 20;
  std::vector<float> a = random_spd(k, 5);
  std::vector<float> expected(k * k), u(k * k);
  ASSERT_TRUE(inverse_cholesky(a, k, expected.data(), executor));
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < i; ++j) a[j * k + i] = std::numeric_limits<float>::quiet_NaN();
  ASSERT_TRUE(inverse_cholesky(a, k, u.data(), executor));
  EXPECT_EQ(u, expected);
}

/// What is left of the last column is a rounding error of what was there.
TEST(InverseCholesky, RefusesWhatIsSingularButForRounding) {
  Executor executor(2);
  constexpr std::size_t k = 40, rank = 39;
  std::mt19937 rng(7);
  std::normal_distribution<double> normal;
  std::vector<double> b(k * rank);
  for (double& x : b) x = normal(rng);
  std::vector<float> a(k * k), u(k * k);
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j) {
      double sum = 0;
      for (std::size_t t = 0; t < rank; ++t) sum += b[i * rank + t] * b[j * rank + t];
      a[i * k + j] = static_cast<float>(sum);
    }
  EXPECT_FALSE(inverse_cholesky(a, k, u.data(), executor));
}

TEST(InverseCholesky, BytesDoNotDependOnTheThreadCount) {
  constexpr std::size_t k = 200;
  const std::vector<float> a = random_spd(k, 6);
  std::vector<float> one(k * k), two(k * k);
  Executor single(1), pair(2);
  ASSERT_TRUE(inverse_cholesky(a, k, one.data(), single));
  ASSERT_TRUE(inverse_cholesky(a, k, two.data(), pair));
  EXPECT_EQ(one, two);
}

TEST(InverseCholesky, RefusesWhatIsNotPositiveDefinite) {
  Executor executor(1);
  std::vector<float> u(4);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& a : std::vector<std::vector<float>>{{0, 0, 0, 0},
                                                                       {1, 2, 2, 1},
                                                                       {1, 1, 1, 1},
                                                                       {-1, 0, 0, 1},
                                                                       {nan, 0, 0, 1},
                                                                       {1, nan, nan, 1},
                                                                       {inf, 0, 0, 1}})
    EXPECT_FALSE(inverse_cholesky(a, 2, u.data(), executor)) << a[0] << " " << a[1];
}

}  // namespace
}  // namespace qeff::calib
