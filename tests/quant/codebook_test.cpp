// The promises of quant/codebook.hpp and quant/double_quant.hpp.
#include "qeff/quant/codebook.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "qeff/quant/dequantize.hpp"
#include "qeff/quant/double_quant.hpp"
#include "support/nasty_matrices.hpp"

namespace qeff {
namespace {

/// Half the widest gap between neighbouring entries.
double half_gap(const Codebook& book) {
  double gap = 0;
  for (std::size_t i = 0; i + 1 < book.size(); ++i)
    gap = std::max(gap, static_cast<double>(book[i + 1]) - book[i]);
  return gap / 2;
}

TEST(Codebook, ErrorIsAtMostHalfTheWidestGapAndZeroIsExact) {
  for (const auto& m : test::nasty_matrices())
    for (const Codebook& book : {kNf4, kFp4}) {
      const auto q = quantize_codebook(m.view(), {.codebook = book, .group_size = 32});
      std::vector<float> values(m.values.size());
      dequantize(q, {values.data(), m.rows, m.cols});
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double scale = q.scales[q.group_index(i / m.cols, i % m.cols)];
        ASSERT_TRUE(std::isnormal(scale) && scale > 0) << m.name;
        ASSERT_LE(std::abs(static_cast<double>(values[i]) - m.values[i]),
                  scale * (half_gap(book) + 1e-6))
            << m.name;
        if (m.values[i] == 0) {
          ASSERT_EQ(values[i], 0.0f) << m.name;
        }
      }
    }
}

TEST(Codebook, EveryEntryIsItsOwnNearest) {
  for (const Codebook& book : {kNf4, kFp4})
    for (const float entry : book) EXPECT_EQ(book[nearest_entry(entry, book)], entry);
}

TEST(Codebook, AValueHalfWayGetsTheLowerEntry) {
  Codebook even{};
  for (std::size_t i = 0; i < even.size(); ++i) even[i] = static_cast<float>(i) / 16;
  EXPECT_EQ(nearest_entry(2.5f / 16, even), 2);
  EXPECT_EQ(nearest_entry(std::nextafter(2.5f / 16, 1.0f), even), 3);
  EXPECT_EQ(nearest_entry(0.0f, kFp4), 7);
}

TEST(Codebook, TheLargestMagnitudeIsExact) {
  const auto m = test::normal_matrix(1, 64);
  const auto q = quantize_codebook(m.view(), {});
  std::vector<float> values(64);
  dequantize(q, {values.data(), 1, 64});
  for (std::size_t i = 0; i < 64; ++i)
    if (std::abs(m.values[i]) == q.scales[0]) {
      EXPECT_EQ(values[i], m.values[i]);
    }
}

TEST(Codebook, QuantizingTwiceChangesNothing) {
  const auto m = test::normal_matrix(4, 70);
  const auto q = quantize_codebook(m.view(), {});
  std::vector<float> values(m.values.size());
  dequantize(q, {values.data(), m.rows, m.cols});
  const auto again = quantize_codebook(MatrixView<const float>{values.data(), m.rows, m.cols}, {});
  EXPECT_EQ(again.codes, q.codes);
  EXPECT_EQ(again.scales, q.scales);
}

TEST(Codebook, GroupSizeZeroIsTheRowAndAnUnsortedBookIsRefused) {
  const auto m = test::normal_matrix(2, 70);
  EXPECT_EQ(quantize_codebook(m.view(), {.group_size = 0}).groups(), 1u);
  Codebook unsorted = kNf4;
  std::swap(unsorted[3], unsorted[4]);
  EXPECT_THROW((void)quantize_codebook(m.view(), {.codebook = unsorted}), InvalidArgument);
}

TEST(DoubleQuant, TheMapHas256AscendingValues) {
  const auto& map = dynamic_map();
  for (std::size_t i = 0; i + 1 < map.size(); ++i) ASSERT_LT(map[i], map[i + 1]);
  EXPECT_EQ(map.back(), 1.0f);
  EXPECT_EQ(map[detail::nearest_in(map, 0.0f)], 0.0f);
}

TEST(DoubleQuant, EqualScalesAreExact) {
  const std::vector<float> scales(300, 0.125f);
  EXPECT_EQ(reconstruct_scales(double_quantize(scales)), scales);
}

TEST(DoubleQuant, ReconstructedScalesStayPositiveAndFinite) {
  std::vector<float> scales(300, std::numeric_limits<float>::min());
  scales[7] = std::numeric_limits<float>::max();
  for (const float s : reconstruct_scales(double_quantize(scales)))
    ASSERT_TRUE(std::isnormal(s) && s > 0);
}

TEST(DoubleQuant, TakesAByteAScaleAndAFloatABlock) {
  const auto m = test::normal_matrix(64, 512);
  auto q = quantize_codebook(m.view(), {.group_size = 64});
  const auto before = q.scales;
  const auto stored = double_quantize_scales(q);
  EXPECT_EQ(stored.nbytes(), 512u + 2 * 4 + 4);
  EXPECT_EQ(q.scales, reconstruct_scales(stored));
  for (std::size_t i = 0; i < before.size(); ++i)
    ASSERT_NEAR(q.scales[i], before[i], 0.05 * before[i]);
}

}  // namespace
}  // namespace qeff
