// exp, erf and the activations on dense sweeps. What docs/numerics.md promises is measured here.
#include "kernels/bodies/math.inl.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/simd/portable.hpp"
#include "support/emulation/emulated_tables.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

using kernels::Math;
using kernels::simd::Portable;

std::vector<float> sweep(double from, double to, std::size_t count = 20'000) {
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i)
    x[i] = static_cast<float>(from + (to - from) * static_cast<double>(i) / static_cast<double>(count - 1));
  return x;
}

float exp_of(float x) { return Math<Portable>::exp(Portable::set1(x)).at[5]; }
float cdf_of(float x) { return Math<Portable>::normal_cdf(Portable::set1(x)).at[5]; }
float bf16_of(float x) { return Math<Portable>::round_bf16(Portable::set1(x)).at[5]; }

TEST(Math, ExpIsWithinTwoUlpOnItsRange) {
  for (const float x : sweep(-87, 88)) {
    const double exact = std::exp(static_cast<double>(x));
    ASSERT_NEAR(exp_of(x), exact, 2 * 0x1p-23 * exact) << x;
  }
}

TEST(Math, ExpOutsideItsRangeIsTheNearestEndAndNanStaysNan) {
  EXPECT_EQ(exp_of(-1000), exp_of(-87));
  EXPECT_EQ(exp_of(-INFINITY), exp_of(-87));
  EXPECT_EQ(exp_of(1000), exp_of(88));
  EXPECT_EQ(exp_of(INFINITY), exp_of(88));
  EXPECT_TRUE(std::isfinite(exp_of(INFINITY)));
  EXPECT_TRUE(std::isnan(exp_of(NAN)));
  EXPECT_EQ(exp_of(0), 1.0f);
}

TEST(Math, NormalCdfIsWithinTwoE7AndSaturatesExactly) {
  for (const float x : sweep(-12, 12))
    ASSERT_NEAR(cdf_of(x), 0.5 * std::erfc(-static_cast<double>(x) / std::sqrt(2.0)), 2e-7) << x;
  for (const float x : {5.52f, 12.0f, 1e30f, INFINITY}) {
    EXPECT_EQ(cdf_of(x), 1.0f) << x;
    EXPECT_EQ(cdf_of(-x), 0.0f) << x;
  }
  EXPECT_TRUE(std::isnan(cdf_of(NAN)));
}

TEST(Math, RoundingToBf16IsToNearestEven) {
  EXPECT_EQ(bf16_of(1.0f), 1.0f);
  EXPECT_EQ(bf16_of(1.0f + 0x1p-8f), 1.0f);               // a tie: to the even neighbour below
  EXPECT_EQ(bf16_of(1.0f + 3 * 0x1p-8f), 1.0f + 0x1p-6f);  // a tie: to the even neighbour above
  EXPECT_EQ(bf16_of(1.0f + 0x1.02p-8f), 1.0f + 0x1p-7f);
  EXPECT_EQ(bf16_of(-1.0f - 0x1.02p-8f), -1.0f - 0x1p-7f);
  EXPECT_EQ(bf16_of(3.4e38f), INFINITY);
}

/// activation(x) of each value through a matmul with the weight 1.
std::vector<float> apply(Activation activation, const std::vector<float>& x) {
  const float one = 1.0f;
  const auto packed = pack_float({&one, 1, 1});
  std::vector<float> y(x.size());
  Executor serial(1);
  matmul({x.data(), x.size(), 1}, packed.view, {y.data(), x.size(), 1}, {.activation = activation}, serial);
  return y;
}

class ActivationOnIsa : public test::IsaTest {};

TEST_P(ActivationOnIsa, GeluIsExactToFloat32Noise) {
  const auto x = sweep(-12, 12), y = apply(Activation::gelu, x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    ASSERT_NEAR(y[i], v * 0.5 * std::erfc(-v / std::sqrt(2.0)), 3e-7 * std::abs(v)) << v;
  }
}

TEST_P(ActivationOnIsa, GeluTanhFollowsItsFormula) {
  const auto x = sweep(-12, 12), y = apply(Activation::gelu_tanh, x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], u = std::sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v);
    ASSERT_NEAR(y[i], v / (1 + std::exp(-2 * u)), 5e-7 * std::abs(v)) << v;
  }
}

TEST_P(ActivationOnIsa, SiluHasRelativeErrorsOfAFewUlp) {
  const auto x = sweep(-85, 85), y = apply(Activation::silu, x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], exact = v / (1 + std::exp(-v));
    ASSERT_NEAR(y[i], exact, 5 * 0x1p-23 * std::abs(exact)) << v;
  }
}

TEST_P(ActivationOnIsa, LargeValuesSaturateAndNanStaysNan) {
  for (const Activation a : {Activation::gelu, Activation::gelu_tanh, Activation::silu, Activation::relu}) {
    const auto y = apply(a, {1e30f, -1e30f, 0.0f, NAN, 90.0f, -200.0f});
    EXPECT_EQ(y[0], 1e30f);
    EXPECT_NEAR(y[1], 0.0f, 1e-7);
    EXPECT_EQ(y[2], 0.0f);
    EXPECT_TRUE(std::isnan(y[3])) << static_cast<int>(a);
    EXPECT_EQ(y[4], 90.0f);
    EXPECT_NEAR(y[5], 0.0f, 1e-30);
  }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(ActivationOnIsa);

}  // namespace
}  // namespace qeff
