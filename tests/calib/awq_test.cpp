#include "qeff/calib/awq.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "calib/calib_oracles.hpp"
#include "qeff/core/error.hpp"

namespace qeff {
namespace {

using testing::loss_of;
using testing::make_problem;
using testing::nearest;
using testing::Problem;
using testing::values_of;

AwqScales scales_of(const Problem& p, const AwqConfig& config, Executor& executor) {
  const std::array weights{p.weights()};
  return awq_scales(weights, p.hessian(), p.mean_abs, config, executor);
}

/// The values a layer computes with: codes * scale / s.
std::vector<float> unscaled(const QuantizedMatrix& q, const std::vector<float>& scales) {
  std::vector<float> values = values_of(q);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] /= scales[i % q.cols];
  return values;
}

/// A problem with a few channels that carry most of the activation.
Problem salient(unsigned seed) {
  Problem p = make_problem(24, 96, seed);
  for (const std::size_t c : {5, 40, 77}) {
    p.mean_abs[c] *= 30;
    for (std::size_t i = 0; i < p.k; ++i) {
      p.h[c * p.k + i] *= 30;
      p.h[i * p.k + c] *= 30;
    }
  }
  return p;
}

TEST(AwqScales, ArePositiveWithGeometricMeanOne) {
  Executor executor(2);
  const AwqScales s = scales_of(salient(1), {}, executor);
  double sum = 0;
  for (const float x : s.scales) {
    ASSERT_GT(x, 0.0F);
    sum += std::log(static_cast<double>(x));
  }
  EXPECT_NEAR(sum / static_cast<double>(s.scales.size()), 0.0, 1e-5);
  EXPECT_LT(s.loss, s.loss_unscaled) << "salient channels must gain from scales";
  EXPECT_GT(s.scales[5], 1.0F);
}

TEST(AwqScales, LossIsTheRelativeErrorOfTheQuantizedLayer) {
  Executor executor(1);
  const Problem p = salient(2);
  AwqConfig config;
  config.group_size = 32;
  const AwqScales s = scales_of(p, config, executor);
  const std::vector<float> zeros(p.w.size()), ones(p.k, 1.0F);
  const double signal = loss_of(p, zeros);
  const auto loss = [&](const std::vector<float>& scales) {
    const auto q = awq_quantize(p.weights(), scales, p.hessian(), config, executor);
    return loss_of(p, unscaled(q, scales)) / signal;
  };
  EXPECT_NEAR(s.loss, loss(s.scales), 1e-3 * s.loss);
  EXPECT_NEAR(s.loss_unscaled, loss(ones), 1e-3 * s.loss_unscaled);
}

TEST(AwqScales, NeverLoseAgainstNoScales) {
  Executor executor(1);
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool duo : {false, true}) {
      AwqConfig config;
      config.bits = bits;
      config.group_size = 40;
      config.duo_scaling = duo;
      const AwqScales s = scales_of(make_problem(16, 100, 3), config, executor);
      EXPECT_LE(s.loss, s.loss_unscaled) << bits;
    }
}

TEST(AwqScales, AreSharedByLinearsOfTheSameInput) {
  Executor executor(2);
  const Problem a = make_problem(10, 64, 4), b = make_problem(20, 64, 4);
  const std::array weights{a.weights(), b.weights()};
  const AwqScales s = awq_scales(weights, a.hessian(), a.mean_abs, {}, executor);
  EXPECT_EQ(s.scales.size(), 64U);
  EXPECT_LE(s.loss, s.loss_unscaled);
}

TEST(AwqScales, WithoutAGridAreOne) {
  Executor executor(1);
  AwqConfig config;
  config.scale_grid = 0;
  EXPECT_EQ(scales_of(salient(5), config, executor).scales, std::vector<float>(96, 1.0F));
}

TEST(AwqScales, DeadChannelsKeepScaleOne) {
  Executor executor(1);
  Problem p = salient(6);
  for (const std::size_t d : {0, 50}) {
    p.mean_abs[d] = 0;
    for (std::size_t i = 0; i < p.k; ++i) p.h[d * p.k + i] = p.h[i * p.k + d] = 0;
  }
  for (std::size_t r = 0; r < p.n; ++r) p.w[r * p.k + 20] = 0;  // a channel nobody reads
  p.mean_abs[21] = std::numeric_limits<float>::quiet_NaN();
  const AwqScales s = scales_of(p, {}, executor);
  EXPECT_EQ(s.dead_channels, 4U);
  for (const std::size_t d : {0, 50, 20, 21}) EXPECT_EQ(s.scales[d], 1.0F);
  for (const float x : s.scales) EXPECT_TRUE(std::isfinite(x) && x > 0);
}

TEST(AwqScales, AreOneWhenCalibrationSaysNothing) {
  Executor executor(1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float filler : {0.0F, nan, std::numeric_limits<float>::infinity(), -1.0F}) {
    Problem p = make_problem(8, 32, 7);
    std::fill(p.h.begin(), p.h.end(), filler);
    EXPECT_EQ(scales_of(p, {}, executor).scales, std::vector<float>(32, 1.0F)) << filler;
    p = make_problem(8, 32, 7);
    std::fill(p.mean_abs.begin(), p.mean_abs.end(), filler);
    EXPECT_EQ(scales_of(p, {}, executor).scales, std::vector<float>(32, 1.0F)) << filler;
  }
}

TEST(AwqScales, BytesDoNotDependOnTheThreadCount) {
  Executor one(1), two(2);
  const Problem p = salient(8);
  const AwqScales a = scales_of(p, {}, one), b = scales_of(p, {}, two);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.loss, b.loss);
}

TEST(AwqQuantize, ClipSearchLowersTheLossForAllBitsAndGroups) {
  Executor executor(2);
  for (const int bits : {2, 3, 4, 5, 6, 7, 8})
    for (const std::size_t group_size : {0, 1, 24, 64})
      for (const bool zero_point : {false, true}) {
        Problem p = make_problem(20, 96, 9);
        for (std::size_t i = 0; i < p.h.size(); ++i)
          if (i % (p.k + 1) != 0) p.h[i] = 0;  // what the clip search minimizes exactly
        AwqConfig config;
        config.bits = bits;
        config.group_size = group_size;
        config.zero_point = zero_point;
        const std::vector<float> ones(p.k, 1.0F);
        const QuantizedMatrix q = awq_quantize(p.weights(), ones, p.hessian(), config, executor);
        const std::size_t group = group_size == 0 ? p.k : group_size;
        EXPECT_LE(loss_of(p, values_of(q)),
                  1.001 * loss_of(p, nearest(p, bits, group, !zero_point)))
            << bits << " bits, group " << group_size;
        EXPECT_EQ(q.group_size, group);
        EXPECT_TRUE(q.input_scale.empty());
      }
}

TEST(AwqQuantize, WithoutScalesAndClipIsRoundToNearest) {
  Executor executor(1);
  const Problem p = make_problem(18, 50, 10);
  AwqConfig config;
  config.clip = false;
  config.group_size = 16;
  const std::vector<float> ones(p.k, 1.0F);
  const QuantizedMatrix q = awq_quantize(p.weights(), ones, p.hessian(), config, executor);
  EXPECT_EQ(values_of(q), nearest(p, 4, 16, false));
}

TEST(AwqQuantize, SurvivesAHessianThatIsNotFinite) {
  Executor executor(1);
  Problem p = make_problem(4, 40, 11);
  std::fill(p.h.begin(), p.h.end(), std::numeric_limits<float>::quiet_NaN());
  const std::vector<float> ones(p.k, 1.0F);
  const QuantizedMatrix q = awq_quantize(p.weights(), ones, p.hessian(), {}, executor);
  for (std::size_t i = 0; i < p.w.size(); ++i) EXPECT_NEAR(values_of(q)[i], p.w[i], 0.2F);
}

TEST(AwqQuantize, BytesDoNotDependOnTheThreadCount) {
  Executor one(1), two(2);
  const Problem p = make_problem(50, 64, 12);
  const std::vector<float> ones(p.k, 1.0F);
  const QuantizedMatrix a = awq_quantize(p.weights(), ones, p.hessian(), {}, one);
  const QuantizedMatrix b = awq_quantize(p.weights(), ones, p.hessian(), {}, two);
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.zero_points, b.zero_points);
}

TEST(Awq, RefusesBadArgumentsWithTheirValues) {
  Executor executor(1);
  const Problem p = make_problem(3, 10, 13);
  const auto quantize_message = [&](std::vector<float> scales, AwqConfig config) {
    try {
      (void)awq_quantize(p.weights(), scales, p.hessian(), config, executor);
    } catch (const InvalidArgument& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  AwqConfig config;
  config.max_shrink = 1.5;
  EXPECT_EQ(quantize_message(std::vector<float>(10, 1.0F), config),
            "AWQ: max_shrink is 1.5, expected 0 <= max_shrink < 1");
  EXPECT_EQ(quantize_message(std::vector<float>(9, 1.0F), {}), "AWQ: 9 scales, expected 10");
  EXPECT_EQ(quantize_message(std::vector<float>(10, 0.0F), {}),
            "AWQ: scale 0 is 0, expected a finite number > 0");
  EXPECT_THROW((void)awq_scales({}, p.hessian(), p.mean_abs, {}, executor), InvalidArgument);
  const std::array weights{p.weights()};
  EXPECT_THROW((void)awq_scales(weights, p.hessian(), std::span(p.mean_abs).first(3), {}, executor),
               InvalidArgument);
}

}  // namespace
}  // namespace qeff
