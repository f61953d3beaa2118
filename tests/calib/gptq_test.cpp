#include "qeff/calib/gptq.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
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

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

/// The options under which the result is the paper's algorithm and nothing else.
GptqConfig plain(int bits, std::size_t group_size, bool symmetric) {
  GptqConfig config;
  config.bits = bits;
  config.group_size = group_size;
  config.symmetric = symmetric;
  config.group_aware = false;
  config.range_grid = 0;
  config.refine_sweeps = 0;
  return config;
}

std::size_t group_or_row(std::size_t group_size, std::size_t k) {
  return group_size == 0 ? k : std::min(group_size, k);
}

TEST(Gptq, EqualsTheNaiveAlgorithmWhenEverythingElseIsOff) {
  Executor executor(2);
  const Problem p = make_problem(5, 300, 7);
  for (const bool symmetric : {false, true})
    for (const std::size_t group_size : {0, 16, 96, 128, 200}) {
      const auto config = plain(4, group_size, symmetric);
      const GptqOutcome got = gptq(p.weights(), p.hessian(), config, executor);
      const auto expected = testing::reference_gptq(p, 4, group_or_row(group_size, p.k), symmetric,
                                                    config.damp_percent);
      std::size_t different = 0;
      for (std::size_t r = 0; r < p.n; ++r)
        for (std::size_t c = 0; c < p.k; ++c)
          different += got.matrix.code(r, c) != expected[r * p.k + c];
      // A tie that float and double break differently sends its whole row another way: rare.
      EXPECT_EQ(different, 0U) << "group " << group_size << " symmetric " << symmetric;
      EXPECT_EQ(got.fallback, "");
    }
}

TEST(Gptq, LossIsBelowRoundToNearestForAllBitsAndGroups) {
  Executor executor(2);
  const Problem p = make_problem(18, 100, 11);
  for (int bits = 2; bits <= 8; ++bits)
    for (const std::size_t group_size : {0, 1, 7, 32, 100, 1000})
      for (const bool symmetric : {false, true}) {
        GptqConfig config;
        config.bits = bits;
        config.group_size = group_size;
        config.symmetric = symmetric;
        const GptqOutcome got = gptq(p.weights(), p.hessian(), config, executor);
        const std::size_t group = group_or_row(group_size, p.k);
        const double ours = loss_of(p, values_of(got.matrix));
        EXPECT_LE(ours, loss_of(p, nearest(p, bits, group, symmetric)) + 1e-9)
            << bits << " bits, group " << group_size << " symmetric " << symmetric;
        EXPECT_EQ(got.matrix.group_size, group);
        EXPECT_EQ(got.matrix.is_signed, symmetric);
        EXPECT_EQ(got.matrix.zero_points.empty(), symmetric);
      }
}

TEST(Gptq, CodesAndZeroPointsStayInRangeAndScalesPositive) {
  Executor executor(1);
  const Problem p = make_problem(20, 70, 12);
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool symmetric : {false, true}) {
      GptqConfig config;
      config.bits = bits;
      config.group_size = 32;
      config.symmetric = symmetric;
      const QuantizedMatrix q = gptq(p.weights(), p.hessian(), config, executor).matrix;
      const std::int32_t low = symmetric ? 1 - (1 << (bits - 1)) : 0;
      const std::int32_t high = symmetric ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
      for (std::size_t r = 0; r < q.rows; ++r)
        for (std::size_t c = 0; c < q.cols; ++c) {
          ASSERT_GE(q.code(r, c), low);
          ASSERT_LE(q.code(r, c), high);
        }
      for (const float scale : q.scales) ASSERT_GT(scale, 0.0F);
      for (const std::int32_t zero : q.zero_points) {
        ASSERT_GE(zero, low);
        ASSERT_LE(zero, high);
      }
    }
}

TEST(Gptq, EveryOptionKeepsTheLossBelowRoundToNearest) {
  Executor executor(2);
  const Problem p = make_problem(17, 160, 13);
  const double rtn = loss_of(p, nearest(p, 4, 48, false));
  for (int mask = 0; mask < 8; ++mask) {
    GptqConfig config;
    config.group_size = 48;
    config.desc_act = mask & 1;
    config.group_aware = mask & 2;
    config.static_groups = mask & 4;
    const GptqOutcome got = gptq(p.weights(), p.hessian(), config, executor);
    EXPECT_LT(loss_of(p, values_of(got.matrix)), 0.8 * rtn) << mask;
  }
}

TEST(Gptq, RangeSearchAndRefinementLowerTheLoss) {
  Executor executor(1);
  const Problem p = make_problem(32, 256, 14);
  auto config = plain(3, 64, false);
  const double base = gptq(p.weights(), p.hessian(), config, executor).loss;
  config.range_grid = 40;
  const double searched = gptq(p.weights(), p.hessian(), config, executor).loss;
  config.refine_sweeps = 2;
  const double refined = gptq(p.weights(), p.hessian(), config, executor).loss;
  EXPECT_LT(searched, base);
  EXPECT_LT(refined, searched);
}

TEST(Gptq, BytesDoNotDependOnTheThreadCount) {
  Executor one(1), two(2);
  const Problem p = make_problem(70, 200, 15);
  for (const bool desc_act : {false, true}) {
    GptqConfig config;
    config.group_size = 64;
    config.desc_act = desc_act;
    const GptqOutcome a = gptq(p.weights(), p.hessian(), config, one);
    const GptqOutcome b = gptq(p.weights(), p.hessian(), config, two);
    EXPECT_EQ(a.matrix.codes, b.matrix.codes);
    EXPECT_EQ(a.matrix.scales, b.matrix.scales);
    EXPECT_EQ(a.matrix.zero_points, b.matrix.zero_points);
    EXPECT_EQ(a.loss, b.loss);
  }
}

TEST(Gptq, RowsDoNotDependOnTheirNeighbours) {
  Executor executor(1);
  const Problem p = make_problem(20, 64, 16);
  const QuantizedMatrix all = gptq(p.weights(), p.hessian(), {}, executor).matrix;
  const MatrixView<const float> last{p.w.data() + 19 * p.k, 1, p.k};
  const QuantizedMatrix alone = gptq(last, p.hessian(), {}, executor).matrix;
  EXPECT_TRUE(std::equal(alone.codes.begin(), alone.codes.end(), all.codes.begin() + 19 * 64));
}

TEST(Gptq, HonoursStrides) {
  Executor executor(1);
  const Problem p = make_problem(6, 40, 17);
  std::vector<float> transposed(p.w.size());
  for (std::size_t r = 0; r < p.n; ++r)
    for (std::size_t c = 0; c < p.k; ++c) transposed[c * p.n + r] = p.w[r * p.k + c];
  const MatrixView<const float> view{transposed.data(), p.n, p.k, 1,
                                     static_cast<std::ptrdiff_t>(p.n)};
  EXPECT_EQ(gptq(view, p.hessian(), {}, executor).matrix.codes,
            gptq(p.weights(), p.hessian(), {}, executor).matrix.codes);
}

TEST(Gptq, DeadColumnsKeepTheirNearestValue) {
  Executor executor(1);
  Problem p = make_problem(16, 96, 18);
  const std::set<std::size_t> dead{3, 40, 95};
  for (const std::size_t d : dead)
    for (std::size_t i = 0; i < p.k; ++i) p.h[d * p.k + i] = p.h[i * p.k + d] = 0;
  for (const bool desc_act : {false, true}) {
    GptqConfig config;
    config.group_size = 32;
    config.desc_act = desc_act;
    const GptqOutcome got = gptq(p.weights(), p.hessian(), config, executor);
    EXPECT_EQ(got.dead_columns, dead.size());
    for (std::size_t r = 0; r < p.n; ++r)
      for (const std::size_t d : dead) {
        const std::size_t g = got.matrix.group_index(r, d);
        const AffineGrid grid{got.matrix.scales[g], got.matrix.zero_points[g], 0, 15};
        EXPECT_EQ(got.matrix.code(r, d), encode(p.w[r * p.k + d], grid)) << r << ", " << d;
      }
  }
}

TEST(Gptq, AllZeroWeightsGiveZeroValues) {
  Executor executor(1);
  Problem p = make_problem(3, 40, 19);
  std::fill(p.w.begin(), p.w.end(), 0.0F);
  const GptqOutcome got = gptq(p.weights(), p.hessian(), {}, executor);
  EXPECT_EQ(values_of(got.matrix), p.w);
  EXPECT_EQ(got.loss, 0.0);
}

/// A Hessian no calibration should give, and whether it must end in rounding to nearest.
struct Hostile {
  const char* name;
  float diagonal, neighbour;
  bool fallback;
};

TEST(Gptq, HostileHessiansNeverThrowAndNeverLoseTheWeights) {
  Executor executor(1);
  for (const Hostile& hostile :
       {Hostile{"zero", 0, 0, true}, Hostile{"NaN", kNan, 0, true},
        Hostile{"NaN off the diagonal", 1, kNan, true}, Hostile{"infinite", kInf, 0, true},
        Hostile{"negative", -1, 0, true}, Hostile{"wildly indefinite", 1, 100, true},
        Hostile{"slightly indefinite", 1, 1.0005F, false}, Hostile{"rank 1", 1, 1, false},
        Hostile{"huge", 3e38F, 0, false}, Hostile{"tiny", 1e-38F, 0, false}}) {
    Problem p = make_problem(9, 50, 20);
    for (std::size_t i = 0; i < p.k; ++i)
      for (std::size_t j = 0; j < p.k; ++j)
        p.h[i * p.k + j] = i == j ? hostile.diagonal : hostile.neighbour;
    const GptqOutcome got = gptq(p.weights(), p.hessian(), {}, executor);
    EXPECT_EQ(!got.fallback.empty(), hostile.fallback) << hostile.name << ": " << got.fallback;
    const std::vector<float> values = values_of(got.matrix), rtn = nearest(p, 4, p.k, false);
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(values[i], p.w[i], 0.5F) << hostile.name;
    if (!hostile.fallback) continue;
    double ours = 0, theirs = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      ours += std::pow(static_cast<double>(values[i] - p.w[i]), 2);
      theirs += std::pow(static_cast<double>(rtn[i] - p.w[i]), 2);
    }
    EXPECT_LE(ours, theirs * 1.0001) << hostile.name;
  }
}

TEST(Gptq, DampingEscalatesOnlyWhenNeeded) {
  Executor executor(1);
  Problem p = make_problem(4, 30, 21);
  EXPECT_EQ(gptq(p.weights(), p.hessian(), {}, executor).damp_percent, GptqConfig{}.damp_percent);
  for (std::size_t i = 0; i < p.k * p.k; ++i) p.h[i] = i % (p.k + 1) == 0 ? 1.0F : 1.03F;
  GptqConfig config;
  config.damp_percent = 0.01;
  EXPECT_DOUBLE_EQ(gptq(p.weights(), p.hessian(), config, executor).damp_percent, 0.04);
}

TEST(Gptq, ReportsTheLossOfItsResult) {
  Executor executor(1);
  const Problem p = make_problem(8, 60, 22);
  const GptqOutcome got = gptq(p.weights(), p.hessian(), {}, executor);
  const std::vector<float> zeros(p.w.size());
  EXPECT_NEAR(got.loss, loss_of(p, values_of(got.matrix)) / loss_of(p, zeros), 1e-3 * got.loss);
}

TEST(Gptq, RefusesBadArgumentsWithTheirValues) {
  Executor executor(1);
  Problem p = make_problem(3, 10, 23);
  const auto message = [&](MatrixView<const float> w, MatrixView<const float> h,
                           GptqConfig config) {
    try {
      (void)gptq(w, h, config, executor);
    } catch (const InvalidArgument& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  GptqConfig config;
  config.bits = 9;
  EXPECT_EQ(message(p.weights(), p.hessian(), config), "GPTQ: bits is 9, expected 2..8");
  config = {};
  config.damp_percent = -1;
  EXPECT_EQ(message(p.weights(), p.hessian(), config),
            "GPTQ: damp_percent is -1, expected 0..1 (a share of the mean diagonal)");
  EXPECT_EQ(message(p.weights(), {p.h.data(), 9, 10}, {}),
            "GPTQ: the Hessian has shape (9, 10), expected (10, 10)");
  EXPECT_NE(message({p.w.data(), 0, 10}, p.hessian(), {}).find("shape (0, 10)"), std::string::npos);
  p.w[17] = kNan;
  EXPECT_EQ(message(p.weights(), p.hessian(), {}),
            "GPTQ: the weight at (1, 7) is nan, expected a finite number");
}

}  // namespace
}  // namespace qeff
