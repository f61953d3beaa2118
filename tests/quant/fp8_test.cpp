// The promises of quant/fp8.hpp.
#include "qeff/quant/fp8.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "qeff/quant/dequantize.hpp"
#include "support/nasty_matrices.hpp"

namespace qeff {
namespace {

TEST(Fp8, ErrorIsHalfAnUlpOfTheFormat) {
  for (const auto& m : test::nasty_matrices())
    for (const auto format : {DType::e4m3, DType::e5m2})
      for (const auto granularity : {Granularity::per_tensor, Granularity::per_channel,
                                     Granularity::per_group, Granularity::per_block}) {
        const auto q = quantize_fp8(
            m.view(), {.format = format, .granularity = granularity, .group_size = 32});
        std::vector<float> values(m.values.size());
        dequantize(q, {values.data(), m.rows, m.cols});
        const bool e4m3 = format == DType::e4m3;
        for (std::size_t i = 0; i < values.size(); ++i) {
          const double scale = q.scales[q.group_index(i / m.cols, i % m.cols)];
          const double x = m.values[i];
          ASSERT_TRUE(std::isnormal(scale) && scale > 0) << m.name;
          const double relative = std::ldexp(std::abs(x), e4m3 ? -4 : -3);
          const double absolute = std::ldexp(scale, e4m3 ? -10 : -17);
          // And the roundings of x / scale and scale * value.
          ASSERT_LE(std::abs(values[i] - x), std::max(relative, absolute) + 4e-7 * std::abs(x))
              << m.name;
        }
      }
}

TEST(Fp8, ABlockSharesOneScaleOverItsRows) {
  const auto m = test::normal_matrix(5, 70);
  const auto q = quantize_fp8(m.view(), {.granularity = Granularity::per_block, .group_size = 3});
  const std::size_t groups = q.groups();
  for (std::size_t r = 0; r < 5; ++r)
    for (std::size_t g = 0; g < groups; ++g)
      EXPECT_EQ(q.scales[r * groups + g], q.scales[r / 3 * 3 * groups + g]);
  EXPECT_NE(q.scales[0], q.scales[3 * groups]);
}

TEST(Fp8, TheLargestMagnitudeGetsTheLargestCode) {
  const auto m = test::normal_matrix(3, 70);
  const auto q = quantize_fp8(m.view(), {});
  for (std::size_t r = 0; r < 3; ++r) {
    int top = 0;
    for (std::size_t c = 0; c < 70; ++c) top = std::max(top, q.codes[r * 70 + c] & 0x7F);
    EXPECT_EQ(top, 0x7E);
  }
}

TEST(Fp8, AnotherFormatOrGroupSizeZeroIsRefused) {
  const auto m = test::normal_matrix(2, 8);
  EXPECT_THROW((void)quantize_fp8(m.view(), {.format = DType::e2m1}), InvalidArgument);
  EXPECT_THROW(
      (void)quantize_fp8(m.view(), {.granularity = Granularity::per_block, .group_size = 0}),
      InvalidArgument);
}

}  // namespace
}  // namespace qeff
