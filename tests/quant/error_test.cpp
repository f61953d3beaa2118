// The promises of quant/error.hpp and quant/dequantize.hpp.
#include "qeff/quant/error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "qeff/quant/dequantize.hpp"

namespace qeff {
namespace {

MatrixView<const float> row(const std::vector<float>& v) { return {v.data(), 1, v.size()}; }

TEST(ErrorMetrics, AreTheirFormulas) {
  const std::vector<float> a{3, 4}, b{3, 5};
  const auto m = error_metrics(row(a), row(b));
  EXPECT_DOUBLE_EQ(m.mse, 0.5);
  EXPECT_DOUBLE_EQ(m.sqnr_db, 10 * std::log10(25.0));
  EXPECT_DOUBLE_EQ(m.cosine, 29 / (5 * std::sqrt(34.0)));
  EXPECT_DOUBLE_EQ(m.max_abs, 1.0);
}

TEST(ErrorMetrics, OfZerosAreDefined) {
  const std::vector<float> zeros{0, 0}, ones{1, 1};
  EXPECT_EQ(error_metrics(row(zeros), row(zeros)).cosine, 1.0);
  EXPECT_EQ(error_metrics(row(zeros), row(zeros)).sqnr_db, std::numeric_limits<double>::infinity());
  EXPECT_EQ(error_metrics(row(zeros), row(ones)).cosine, 0.0);
}

TEST(ErrorMetrics, NanIsNotLost) {
  const std::vector<float> a{1, 2, 3}, b{1, std::numeric_limits<float>::quiet_NaN(), 9};
  const auto m = error_metrics(row(a), row(b));
  EXPECT_TRUE(std::isnan(m.mse) && std::isnan(m.max_abs) && std::isnan(m.cosine));
}

TEST(ErrorMetrics, DifferentShapesAreRefused) {
  const std::vector<float> a{1, 2, 3}, b{1, 2};
  EXPECT_THROW((void)error_metrics(row(a), row(b)), InvalidArgument);
}

TEST(Dequantize, AMatrixThatContradictsItselfIsRefusedAndNothingIsWritten) {
  QuantizedMatrix q;
  q.rows = 1;
  q.cols = 2;
  q.group_size = 1;
  q.codes = {1, 2};
  q.scales = {1.0f};
  std::vector<float> out{7, 7};
  EXPECT_THROW(dequantize(q, {out.data(), 1, 2}), InvalidArgument);
  q.scales = {1.0f, 2.0f};
  EXPECT_THROW(dequantize(q, {out.data(), 2, 1}), InvalidArgument);
  EXPECT_EQ(out, (std::vector<float>{7, 7}));
  dequantize(q, {out.data(), 1, 2});
  EXPECT_EQ(out, (std::vector<float>{1, 4}));
}

}  // namespace
}  // namespace qeff
