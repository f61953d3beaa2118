// The promises of core/minifloat.hpp that need no oracle; tests/python/test_minifloat.py has the
// rest.
#include "qeff/core/minifloat.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace qeff {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class F>
class MinifloatFormat : public testing::Test {};
using Formats = testing::Types<F16, BF16, E4M3, E5M2, E2M3, E3M2, E2M1>;
TYPED_TEST_SUITE(MinifloatFormat, Formats);

template <class F>
typename F::Bits code(std::uint32_t bits) {
  return static_cast<typename F::Bits>(bits);
}

TYPED_TEST(MinifloatFormat, EveryNumberSurvivesTheWayToFloatAndBack) {
  for (std::uint32_t c = 0; c <= TypeParam::kMax; ++c) {
    ASSERT_EQ((to_bits<TypeParam>(to_float<TypeParam>(code<TypeParam>(c)))), c);
    const std::uint32_t negative = c | TypeParam::kSign;
    ASSERT_EQ((to_bits<TypeParam>(to_float<TypeParam>(code<TypeParam>(negative)))), negative);
  }
}

TYPED_TEST(MinifloatFormat, ValuesAscendWithTheirCodes) {
  for (std::uint32_t c = 0; c < TypeParam::kMax; ++c)
    ASSERT_LT((to_float<TypeParam>(code<TypeParam>(c))),
              (to_float<TypeParam>(code<TypeParam>(c + 1))));
}

TYPED_TEST(MinifloatFormat, AMidpointGoesToTheEvenCodeAndItsNeighboursToTheNearest) {
  for (std::uint32_t c = 0; c < TypeParam::kMax; ++c) {
    const double low = to_float<TypeParam>(code<TypeParam>(c));
    const auto middle = static_cast<float>((low + to_float<TypeParam>(code<TypeParam>(c + 1))) / 2);
    ASSERT_EQ((to_bits<TypeParam>(middle)), c + c % 2);
    ASSERT_EQ((to_bits<TypeParam>(std::nextafter(middle, 0.0f))), c);
    ASSERT_EQ((to_bits<TypeParam>(std::nextafter(middle, kInf))), c + 1);
  }
}

TYPED_TEST(MinifloatFormat, SaturatingNeverLeavesTheNumbers) {
  const float top = max_value<TypeParam>;
  for (const float x : {kInf, std::numeric_limits<float>::max(), top}) {
    EXPECT_EQ((to_bits<TypeParam>(x, true)), TypeParam::kMax);
    EXPECT_EQ((to_bits<TypeParam>(-x, true)), TypeParam::kMax | TypeParam::kSign);
  }
}

TYPED_TEST(MinifloatFormat, ZerosKeepTheirSign) {
  EXPECT_EQ((to_bits<TypeParam>(0.0f)), 0u);
  EXPECT_EQ((to_bits<TypeParam>(-0.0f)), TypeParam::kSign);
  EXPECT_TRUE(std::signbit(to_float<TypeParam>(code<TypeParam>(TypeParam::kSign))));
}

TEST(Minifloat, OverflowIsInfinityOrNanAsTheFormatHasIt) {
  EXPECT_EQ(to_float<E5M2>(to_bits<E5M2>(61440.0f)), kInf);
  EXPECT_EQ(to_float<E5M2>(to_bits<E5M2>(61439.0f)), 57344.0f);
  EXPECT_TRUE(std::isnan(to_float<E4M3>(to_bits<E4M3>(465.0f))));
  EXPECT_EQ(to_float<E4M3>(to_bits<E4M3>(464.0f)), 448.0f);
  EXPECT_EQ(to_float<E2M1>(to_bits<E2M1>(-1e30f)), -6.0f);
  EXPECT_EQ(to_float<F16>(to_bits<F16>(-65520.0f)), -kInf);
}

TEST(Minifloat, NanStaysNanWhereThereIsOne) {
  EXPECT_TRUE(std::isnan(static_cast<float>(f16_t(kNan))));
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16_t(std::bit_cast<float>(0x7F800001u)))));
  EXPECT_TRUE(std::isnan(to_float<E4M3>(to_bits<E4M3>(kNan, true))));
  EXPECT_TRUE(std::isnan(to_float<E8M0>(to_bits<E8M0>(kNan, true))));
  EXPECT_EQ(to_float<E2M1>(to_bits<E2M1>(kNan)), 0.0f);
}

TEST(Minifloat, ScalesArePowersOfTwo) {
  for (int e = 0; e < 255; ++e) {
    const float scale = to_float<E8M0>(static_cast<std::uint8_t>(e));
    ASSERT_EQ(scale, std::ldexp(1.0f, e - 127));
    for (const auto rounding : {ScaleRounding::nearest, ScaleRounding::up, ScaleRounding::down})
      ASSERT_EQ(to_e8m0(scale, rounding), e);
    if (e > 0) {
      ASSERT_EQ(to_e8m0(std::nextafter(scale, 0.0f), ScaleRounding::down), e - 1);
    }
    if (e < 254) {
      ASSERT_EQ(to_e8m0(std::nextafter(scale, kInf), ScaleRounding::up), e + 1);
    }
  }
}

TEST(Minifloat, ScalesOutOfRangeSaturateOrAreNan) {
  EXPECT_EQ(to_e8m0(3e38f, ScaleRounding::nearest, true), 0xFE);
  EXPECT_EQ(to_e8m0(3e38f, ScaleRounding::nearest, false), 0xFF);
  EXPECT_EQ(to_e8m0(0.0f, ScaleRounding::up, true), 0x00);
  EXPECT_EQ(to_e8m0(0.0f, ScaleRounding::nearest, false), 0xFF);
  EXPECT_EQ(to_e8m0(-1.0f, ScaleRounding::nearest, true), 0xFF);
  EXPECT_EQ(to_e8m0(kInf, ScaleRounding::down, true), 0xFF);
}

TEST(Minifloat, ConversionsAreConstantExpressions) {
  static_assert(to_bits<F16>(1.0f) == 0x3C00 && to_float<F16>(0x0001) == 0x1p-24f);
  static_assert(to_bits<BF16>(3.0f) == 0x4040 && to_bits<E4M3>(1e9f, true) == 0x7E);
  static_assert(static_cast<float>(e5m2_t(1.75f)) == 1.75f &&
                bf16_t(1.0f) == bf16_t::from_bits(0x3F80));
  SUCCEED();
}

}  // namespace
}  // namespace qeff
