// The promises of quant/affine.hpp and quant/affine_grid.hpp, one test a promise.
#include "qeff/quant/affine.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "qeff/core/minifloat.hpp"
#include "qeff/quant/dequantize.hpp"
#include "qeff/quant/fake_quant.hpp"
#include "support/nasty_matrices.hpp"

namespace qeff {
namespace {

std::vector<float> values_of(const QuantizedMatrix& q) {
  std::vector<float> out(q.rows * q.cols);
  dequantize(q, {out.data(), q.rows, q.cols});
  return out;
}

std::int32_t zero_of(const QuantizedMatrix& q, std::size_t group) {
  return q.zero_points.empty() ? 0 : q.zero_points[group];
}

/// Every width, sign, symmetry and granularity.
std::vector<AffineConfig> all_configs() {
  std::vector<AffineConfig> configs;
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool is_signed : {false, true})
      for (const bool symmetric : {false, true})
        for (const auto granularity :
             {Granularity::per_tensor, Granularity::per_channel, Granularity::per_group})
          configs.push_back({.bits = bits,
                             .is_signed = is_signed,
                             .symmetric = symmetric,
                             .granularity = granularity,
                             .group_size = 32});
  return configs;
}

std::string label(const test::NamedMatrix& m, const AffineConfig& c) {
  return str(m.name, ", bits ", c.bits, c.is_signed ? " signed" : " unsigned",
             c.symmetric ? " symmetric" : "", " granularity ", static_cast<int>(c.granularity));
}

/// Calls check(matrix, config, quantized) for every nasty matrix and config.
template <class Check>
void for_each_case(Check&& check) {
  for (const auto& m : test::nasty_matrices())
    for (const auto& config : all_configs()) {
      SCOPED_TRACE(label(m, config));
      check(m, config, quantize_affine(m.view(), config));
      if (testing::Test::HasFatalFailure()) return;
    }
}

TEST(Affine, ErrorIsAtMostHalfAStep) {
  for_each_case([](const auto& m, const auto&, const QuantizedMatrix& q) {
    const auto values = values_of(q);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double scale = q.scales[q.group_index(i / q.cols, i % q.cols)];
      const double x = m.values[i];
      // Half a step, and a few roundings of x / scale, scale * steps and scale itself.
      ASSERT_LE(std::abs(values[i] - x), 0.5 * scale + 4e-7 * (scale + std::abs(x)))
          << "element " << i;
    }
  });
}

TEST(Affine, ScalesAreNormalNumbersAndZeroPointsAreCodes) {
  for_each_case([](const auto&, const AffineConfig& config, const QuantizedMatrix& q) {
    const AffineGrid range = fit_affine(-1, 1, config.bits, config.symmetric, config.is_signed);
    for (std::size_t g = 0; g < q.scales.size(); ++g) {
      ASSERT_TRUE(std::isnormal(q.scales[g]) && q.scales[g] > 0) << q.scales[g];
      ASSERT_GE(zero_of(q, g), range.qmin);
      ASSERT_LE(zero_of(q, g), range.qmax);
    }
  });
}

TEST(Affine, CodesStayInTheirRange) {
  for_each_case([](const auto&, const AffineConfig& config, const QuantizedMatrix& q) {
    const AffineGrid range = fit_affine(-1, 1, config.bits, config.symmetric, config.is_signed);
    for (std::size_t r = 0; r < q.rows; ++r)
      for (std::size_t c = 0; c < q.cols; ++c) {
        ASSERT_GE(q.code(r, c), range.qmin);
        ASSERT_LE(q.code(r, c), range.qmax);
      }
  });
}

TEST(Affine, ZeroIsExact) {
  for_each_case([](const auto& m, const AffineConfig& config, const QuantizedMatrix&) {
    auto with_zero = m;
    with_zero.values[0] = 0.0f;
    with_zero.values.back() = -0.0f;
    const auto values = values_of(quantize_affine(with_zero.view(), config));
    ASSERT_EQ(values.front(), 0.0f);
    ASSERT_EQ(values.back(), 0.0f);
  });
}

TEST(Affine, QuantizingOnTheSameGridTwiceChangesNothing) {
  for_each_case([](const auto&, const AffineConfig& config, const QuantizedMatrix& q) {
    AffineGrid grid = fit_affine(-1, 1, config.bits, config.symmetric, config.is_signed);
    const auto values = values_of(q);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t group = q.group_index(i / q.cols, i % q.cols);
      grid.scale = q.scales[group];
      grid.zero_point = zero_of(q, group);
      ASSERT_EQ(encode(values[i], grid), q.code(i / q.cols, i % q.cols));
    }
  });
}

TEST(Affine, TheWidestRangeDecodesToFiniteValues) {
  constexpr float kMax = std::numeric_limits<float>::max();
  test::NamedMatrix m{"FLT_MAX", 2, 3, {kMax, -kMax, 0, kMax, kMax, -1}};
  for (const auto& config : all_configs()) {
    SCOPED_TRACE(label(m, config));
    const auto q = quantize_affine(m.view(), config);
    for (const float x : values_of(q)) ASSERT_TRUE(std::isfinite(x));
    const AffineGrid range =
        fit_affine(-kMax, kMax, config.bits, config.symmetric, config.is_signed);
    ASSERT_TRUE(std::isfinite(decode(range.qmin, range)) &&
                std::isfinite(decode(range.qmax, range)));
  }
}

TEST(AffineGrid, ARangeWhoseLengthOverflowsIsStillCovered) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const AffineGrid grid = fit_affine(-kMax, kMax, 8, false, false);
  EXPECT_NEAR(grid.scale / kMax, 1.0 / 128, 1e-4);
  EXPECT_EQ(grid.zero_point, 128);
}

TEST(Affine, AGroupOfZerosHasScaleOneAndCodesAtTheZeroPoint) {
  const auto zeros = test::filled("zeros", -0.0f);
  for (const auto& config : all_configs()) {
    const auto q = quantize_affine(zeros.view(), config);
    for (const float s : q.scales) ASSERT_EQ(s, 1.0f);
    for (std::size_t c = 0; c < q.cols; ++c)
      ASSERT_EQ(q.code(1, c), zero_of(q, q.group_index(1, c)));
  }
}

TEST(Affine, SymmetricZeroPointsAreTheMiddle) {
  const auto m = test::normal_matrix(3, 70);
  for (int bits = 2; bits <= 8; ++bits) {
    const auto plain =
        quantize_affine(m.view(), {.bits = bits, .is_signed = false, .symmetric = true});
    for (const auto zero : plain.zero_points) EXPECT_EQ(zero, 1 << (bits - 1));
    EXPECT_TRUE(quantize_affine(m.view(), {.bits = bits}).zero_points.empty());
  }
}

TEST(Affine, PerTensorRepeatsOneScaleForEachRow) {
  const auto m = test::normal_matrix(5, 33);
  for (const auto range : {RangeMethod::minmax, RangeMethod::percentile, RangeMethod::mse}) {
    const auto q =
        quantize_affine(m.view(), {.granularity = Granularity::per_tensor, .range = range});
    ASSERT_EQ(q.scales.size(), 5u);
    for (const float s : q.scales) EXPECT_EQ(s, q.scales[0]);
  }
}

TEST(Affine, TheLastGroupMayBeShort) {
  const auto m = test::normal_matrix(2, 70);
  const auto q = quantize_affine(
      m.view(), {.bits = 4, .granularity = Granularity::per_group, .group_size = 32});
  ASSERT_EQ(q.groups(), 3u);
  const auto tail =
      quantize_affine(MatrixView<const float>{m.values.data() + 64, 2, 6, 70, 1}, {.bits = 4});
  EXPECT_EQ(q.scales[2], tail.scales[0]);
  EXPECT_EQ(q.scales[5], tail.scales[1]);
  EXPECT_EQ(q.codes[64], tail.codes[0]);
}

TEST(Affine, AGroupWiderThanTheRowIsTheRow) {
  const auto m = test::normal_matrix(2, 7);
  const auto q =
      quantize_affine(m.view(), {.granularity = Granularity::per_group, .group_size = 128});
  EXPECT_EQ(q.group_size, 7u);
  EXPECT_EQ(q.codes, quantize_affine(m.view(), {}).codes);
}

TEST(Affine, StridesAndHalfPrecisionGiveTheCodesOfTheSameValues) {
  const auto m = test::normal_matrix(6, 9);
  std::vector<bf16_t> narrow;
  std::vector<float> same, transposed(m.values.size());
  for (const float x : m.values) {
    narrow.emplace_back(x);
    same.push_back(static_cast<float>(narrow.back()));
  }
  for (std::size_t r = 0; r < 6; ++r)
    for (std::size_t c = 0; c < 9; ++c) transposed[c * 6 + r] = same[r * 9 + c];
  const auto expected = quantize_affine(MatrixView<const float>{same.data(), 6, 9}, {.bits = 5});
  const auto from_bf16 =
      quantize_affine(MatrixView<const bf16_t>{narrow.data(), 6, 9}, {.bits = 5});
  const auto strided =
      quantize_affine(MatrixView<const float>{transposed.data(), 6, 9, 1, 6}, {.bits = 5});
  EXPECT_EQ(from_bf16.codes, expected.codes);
  EXPECT_EQ(strided.codes, expected.codes);
}

TEST(Affine, SearchedRangesAreNeverWorseThanMinMax) {
  for (const auto& m : test::nasty_matrices())
    for (const bool symmetric : {false, true}) {
      AffineConfig config{.bits = 3, .is_signed = false, .symmetric = symmetric};
      const auto error = [&](const AffineConfig& c) {
        const auto values = values_of(quantize_affine(m.view(), c));
        double sum = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
          const double e = static_cast<double>(values[i]) - m.values[i];
          sum += e * e;
        }
        return sum;
      };
      const double minmax = error(config);
      config.range = RangeMethod::mse;
      ASSERT_LE(error(config), minmax) << m.name;
    }
}

TEST(Affine, FakeQuantizeMayOverwriteItsInput) {
  auto m = test::normal_matrix(3, 70);
  const AffineConfig config{.bits = 4};
  const auto expected = values_of(quantize_affine(m.view(), config));
  fake_quantize(m.view(), config, MatrixView<float>{m.values.data(), 3, 70});
  EXPECT_EQ(m.values, expected);
}

TEST(Affine, WhatIsNotFiniteIsNamedByRowAndColumn) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto m = test::normal_matrix(3, 70);
    m.values[70 + 5] = bad;
    for (const auto granularity : {Granularity::per_tensor, Granularity::per_group}) {
      try {
        (void)quantize_affine(m.view(), {.granularity = granularity});
        FAIL() << "accepted " << bad;
      } catch (const InvalidArgument& e) {
        EXPECT_NE(std::string(e.what()).find("w[1, 5]"), std::string::npos) << e.what();
      }
    }
  }
}

TEST(Affine, AConfigOutOfRangeIsRefused) {
  const auto m = test::normal_matrix(2, 8);
  for (const int bits : {-1, 0, 1, 9})
    EXPECT_THROW((void)quantize_affine(m.view(), {.bits = bits}), InvalidArgument);
  EXPECT_THROW(
      (void)quantize_affine(m.view(), {.granularity = Granularity::per_group, .group_size = 0}),
      InvalidArgument);
  EXPECT_THROW((void)quantize_affine(m.view(), {.percentile = 50.0}), InvalidArgument);
  EXPECT_THROW((void)quantize_affine(MatrixView<const float>{nullptr, 0, 8}, {}), InvalidArgument);
}

TEST(AffineGrid, RoundsTiesToEven) {
  const AffineGrid grid{.scale = 1.0f, .zero_point = 0, .qmin = -8, .qmax = 7};
  const std::vector<std::pair<float, int>> cases{{0.5f, 0},  {1.5f, 2},   {2.5f, 2},
                                                 {-0.5f, 0}, {-1.5f, -2}, {0.49999997f, 0}};
  for (const auto& [x, code] : cases) EXPECT_EQ(encode(x, grid), code) << x;
}

TEST(AffineGrid, NanGetsTheLowestCode) {
  EXPECT_EQ(encode(std::numeric_limits<float>::quiet_NaN(), fit_affine(-1, 1, 4, false, true)), -8);
}

TEST(AffineGrid, InfinitiesSaturate) {
  const AffineGrid grid = fit_affine(-1.0f, 1.0f, 4, false, false);
  EXPECT_EQ(encode(std::numeric_limits<float>::infinity(), grid), grid.qmax);
  EXPECT_EQ(encode(-std::numeric_limits<float>::infinity(), grid), grid.qmin);
}

}  // namespace
}  // namespace qeff
