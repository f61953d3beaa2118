// matmul with every kernel table, against double precision.
#include "qeff/kernels/matmul.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "qeff/core/error.hpp"
#include "qeff/quant/round_scales.hpp"
#include "support/emulation/emulated_tables.hpp"
#include "support/guarded_floats.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

using test::Problem;
using test::Scheme;

std::vector<float> run(const Problem& p, Executor& executor, const Epilogue& epilogue = {}) {
  std::vector<float> y(p.m * p.n);
  matmul({p.x.data(), p.m, p.k}, p.packed.view, {y.data(), p.m, p.n}, epilogue, executor);
  return y;
}

void expect_right(const Problem& p, const std::vector<float>& y, const char* what) {
  for (std::size_t m = 0; m < p.m; ++m)
    for (std::size_t n = 0; n < p.n; ++n) {
      const auto e = test::exact(p, m, n);
      ASSERT_NEAR(y[m * p.n + n], e.sum, test::bound(p, e))
          << what << " m=" << p.m << " n=" << p.n << " k=" << p.k << " at (" << m << ", " << n << ")";
    }
}

class MatmulOnIsa : public test::IsaTest {
 protected:
  Executor serial{1};
};

TEST_P(MatmulOnIsa, EverySchemeIsWithinItsBound) {
  for (const Scheme scheme : test::kSchemes)
    for (const std::size_t m : {1u, 2u, 5u, 13u, 33u}) {
      const Problem p = test::random_problem(scheme, m, 37, 200, 32);
      expect_right(p, run(p, serial), std::to_string(static_cast<int>(scheme)).c_str());
    }
}

TEST_P(MatmulOnIsa, EverySizeFrom1To129IsRight) {
  for (std::size_t size = 1; size <= 129; size += size < 18 ? 1 : 7) {
    for (const Scheme scheme : {Scheme::i8, Scheme::u4_int8, Scheme::u4, Scheme::f32}) {
      expect_right([&] { return test::random_problem(scheme, size, 17, 70, 16); }(),
                   run(test::random_problem(scheme, size, 17, 70, 16), serial), "m");
      expect_right(test::random_problem(scheme, 3, size, 70, 16),
                   run(test::random_problem(scheme, 3, size, 70, 16), serial), "n");
      expect_right(test::random_problem(scheme, 3, 17, size, 16),
                   run(test::random_problem(scheme, 3, 17, size, 16), serial), "k");
    }
  }
}

TEST_P(MatmulOnIsa, GroupsOfAnySizeAreRight) {
  for (const std::size_t group : {1u, 2u, 3u, 4u, 7u, 12u, 20u, 64u, 100u, 128u})
    for (const Scheme scheme : {Scheme::u4, Scheme::u8, Scheme::nf4, Scheme::e4m3}) {
      const Problem p = test::random_problem(scheme, 4, 20, 130, group);
      expect_right(p, run(p, serial), "group");
    }
  for (const std::size_t group : {4u, 8u, 12u, 32u, 64u, 100u, 128u})
    for (const Scheme scheme : {Scheme::u4_int8, Scheme::i8_groups}) {
      const Problem p = test::random_problem(scheme, 40, 33, 300, group);
      expect_right(p, run(p, serial), "int8 group");
    }
}

TEST_P(MatmulOnIsa, AccumulatorsEqualScalarSums) {
  for (const std::size_t k : {1u, 5u, 64u, 127u, 384u}) {
    Problem p = test::random_problem(Scheme::i8, 7, 35, k, 0);
    for (float& v : p.x) v = std::round(v * 40);
    for (std::size_t m = 0; m < p.m; ++m) p.x[m * k] = 127;  // scale 1: codes are the values
    for (float& v : p.x) v = std::min(127.0f, std::max(-127.0f, v));
    std::vector<std::int32_t> acc(p.m * p.n);
    matmul_accumulators({p.x.data(), p.m, k}, p.packed.view, 0, acc.data());
    const auto* codes = reinterpret_cast<const std::int8_t*>(p.packed.view.codes);
    for (std::size_t m = 0; m < p.m; ++m)
      for (std::size_t n = 0; n < p.n; ++n) {
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < k; ++i)
          sum += static_cast<std::int32_t>(p.x[m * k + i]) *
                 codes[n / 16 * p.packed.view.k_padded() * 16 + i / 4 * 64 + n % 16 * 4 + i % 4];
        ASSERT_EQ(acc[m * p.n + n], sum) << "k=" << k << " at (" << m << ", " << n << ")";
      }
  }
}

TEST_P(MatmulOnIsa, AccumulatorsOfExtremeCodesDoNotSaturate) {
  const std::size_t k = 512;
  QuantizedMatrix q;
  q.rows = 16, q.cols = k, q.group_size = k, q.is_signed = true;
  q.codes.assign(16 * k, static_cast<std::uint8_t>(-127));
  q.scales.assign(16, 1.0f);
  const auto packed = pack(q);
  for (const float value : {127.0f, -127.0f}) {
    const std::vector<float> x(k, value);
    std::vector<std::int32_t> acc(16);
    matmul_accumulators({x.data(), 1, k}, packed.view, 0, acc.data());
    for (const auto a : acc) EXPECT_EQ(a, static_cast<std::int32_t>(value) * -127 * static_cast<std::int32_t>(k));
  }
}

TEST_P(MatmulOnIsa, LongSumsOfTheLargest4BitCodesDoNotOverflow) {
  for (const std::size_t k : {4352u, 4416u, 16384u})
    for (const int zero : {0, 8, 15}) {
      QuantizedMatrix q;
      q.rows = 16, q.cols = k, q.group_size = k, q.bits = 4;
      q.codes.assign(16 * k, zero == 15 ? 0 : 15);
      q.scales.assign(16, 0.5f);
      q.zero_points.assign(16, zero);
      const auto packed = pack(q);  // bf16 activations
      const std::vector<float> x(k, -3.0f);
      std::vector<float> y(16);
      matmul({x.data(), 1, k}, packed.view, {y.data(), 1, 16}, {}, serial);
      const double exact = -1.5 * static_cast<double>(k) * ((zero == 15 ? 0 : 15) - zero);
      for (const float sum : y) EXPECT_NEAR(sum, exact, 1e-3 * std::abs(exact)) << k << ' ' << zero;
    }
}

TEST_P(MatmulOnIsa, AccumulatorsEqualThoseOfThePortableKernels) {
  for (const Scheme scheme : {Scheme::i8, Scheme::i8_groups, Scheme::u4_int8}) {
    const Problem p = test::random_problem(scheme, 37, 50, 300, 64);
    for (std::size_t g = 0; g < p.packed.view.groups(); ++g) {
      std::vector<std::int32_t> mine(p.m * p.n), portable(p.m * p.n);
      matmul_accumulators({p.x.data(), p.m, p.k}, p.packed.view, g, mine.data());
      kernels::set_active(kernels::Isa::portable);
      matmul_accumulators({p.x.data(), p.m, p.k}, p.packed.view, g, portable.data());
      activate();
      ASSERT_EQ(mine, portable) << "group " << g;
    }
  }
}

TEST_P(MatmulOnIsa, BytesDoNotDependOnThreadsOrRowsInTheCall) {
  Executor two(2);
  for (const Scheme scheme : test::kSchemes) {
    const Problem p = test::random_problem(scheme, 100, 130, 256, 64);
    const auto serial_y = run(p, serial);
    const auto parallel_y = run(p, two);
    ASSERT_EQ(0, std::memcmp(serial_y.data(), parallel_y.data(), serial_y.size() * sizeof(float)));
    std::vector<float> row(p.n);  // one row alone gives the bytes it has in a batch
    for (const std::size_t m : {0u, 41u, 99u}) {
      matmul({p.x.data() + m * p.k, 1, p.k}, p.packed.view, {row.data(), 1, p.n}, {}, serial);
      ASSERT_EQ(0, std::memcmp(row.data(), serial_y.data() + m * p.n, p.n * sizeof(float)))
          << static_cast<int>(scheme) << " row " << m;
    }
  }
}

TEST_P(MatmulOnIsa, Bf16ScalesGiveTheBytesOfTheSameFloats) {
  test::Rng rng(3);
  for (const Scheme scheme : {Scheme::i8_groups, Scheme::u4, Scheme::u4_int8, Scheme::u8, Scheme::nf4, Scheme::nf4_int8, Scheme::e4m3})
    for (const std::size_t group : {32u, 64u, 100u})
      for (const std::size_t m : {1u, 4u, 13u, 70u}) {
        Problem p = test::random_problem(scheme, m, 50, 300, group);
        QuantizedMatrix q = test::random_quantized(scheme, p.n, p.k, group, rng);
        round_scales(q);
        p.packed = pack(q, p.packed.view.activations);
        ASSERT_NE(p.packed.view.bf16_scales, nullptr);
        const auto halves = run(p, serial);
        AlignedBuffer floats(p.packed.view.scale_count() * sizeof(float));
        for (std::size_t i = 0; i < p.packed.view.scale_count(); ++i)
          floats.as<float>()[i] = packed_scale(p.packed.view, i);
        p.packed.view.scales = floats.as<const float>();
        p.packed.view.bf16_scales = nullptr;
        ASSERT_EQ(halves, run(p, serial)) << static_cast<int>(scheme) << " g" << group << " m=" << m;
      }
}

TEST_P(MatmulOnIsa, FewRowsOfOneScaleAColumnHaveTheBytesOfMany) {
  for (const Scheme scheme : test::kSchemes) {
    const Problem p = test::random_problem(scheme, 40, 150, 192, 0);  // ten panels: four, four and two
    const auto all = run(p, serial);
    for (const std::size_t rows : {1u, 2u, 3u, 4u, 5u}) {
      std::vector<float> few(rows * p.n);
      matmul({p.x.data(), rows, p.k}, p.packed.view, {few.data(), rows, p.n}, {}, serial);
      ASSERT_EQ(0, std::memcmp(few.data(), all.data(), few.size() * sizeof(float)))
          << static_cast<int>(scheme) << ", " << rows << " rows";
    }
  }
}

TEST_P(MatmulOnIsa, RowsMadeWhenNeededGiveTheBytesOfStoredOnes) {
  Executor two(2);
  for (const Scheme scheme : test::kSchemes)
    for (const std::size_t m : {1u, 5u, 130u}) {
      const Problem p = test::random_problem(scheme, m, 40, 192, 64);
      const auto right = run(p, serial);
      for (Executor* executor : {&serial, &two}) {
        std::vector<std::atomic<int>> made(m);
        const auto rows = [&](std::size_t first, std::size_t last, float* out) {
          for (std::size_t r = first; r < last; ++r) ++made[r];
          std::copy_n(p.x.data() + first * p.k, (last - first) * p.k, out);
        };
        std::vector<float> y(m * p.n);
        matmul(rows, p.packed.view, {y.data(), m, p.n}, {}, *executor);
        ASSERT_EQ(0, std::memcmp(y.data(), right.data(), y.size() * sizeof(float)))
            << static_cast<int>(scheme) << ", " << m << " rows, " << executor->threads() << " threads";
        for (const auto& times : made) ASSERT_EQ(times, 1);
      }
    }
}

TEST_P(MatmulOnIsa, StridedAndMisalignedRowsAreRight) {
  const Problem p = test::random_problem(Scheme::i8, 6, 21, 90, 0);
  std::vector<float> wide(6 * 101 + 8, 5.0f), y(6 * 29 + 8, 7.0f);
  for (std::size_t m = 0; m < 6; ++m) std::copy_n(p.x.data() + m * 90, 90, wide.data() + 1 + m * 101);
  matmul({wide.data() + 1, 6, 90, 101}, p.packed.view, {y.data() + 3, 6, 21, 29}, {}, serial);
  const auto expected = run(p, serial);
  for (std::size_t m = 0; m < 6; ++m) {
    for (std::size_t n = 0; n < 21; ++n) EXPECT_EQ(y[3 + m * 29 + n], expected[m * 21 + n]);
    for (std::size_t n = 21; n < 29; ++n) EXPECT_EQ(y[3 + m * 29 + n], 7.0f) << "wrote between rows";
  }
}

TEST_P(MatmulOnIsa, TouchesNothingBeyondXAndYAndBias) {
  for (const Scheme scheme : {Scheme::i8, Scheme::u4, Scheme::f32})
    for (const std::size_t n : {1u, 9u, 16u, 31u})
      for (const std::size_t k : {1u, 17u, 63u, 65u}) {
        const Problem p = test::random_problem(scheme, 3, n, k, 16);
        test::GuardedFloats x(3 * k), y(3 * n), bias(n);
        std::copy(p.x.begin(), p.x.end(), x.data);
        std::fill_n(bias.data, n, 1.0f);
        matmul({x.data, 3, k}, p.packed.view, {y.data, 3, n}, {.bias = bias.data}, serial);
        EXPECT_TRUE(std::isfinite(y.data[3 * n - 1]));
      }
}

double gelu(double x) { return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0))); }
double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}
double silu(double x) { return x / (1 + std::exp(-x)); }

TEST_P(MatmulOnIsa, EpilogueAddsBiasActivatesAndAddsTheResidual) {
  const Problem p = test::random_problem(Scheme::f32, 5, 37, 64, 0);
  std::vector<float> bias(37), residual(5 * 37);
  test::Rng rng(3);
  for (float& b : bias) b = rng.normal();
  for (float& r : residual) r = rng.normal();
  const struct { Activation a; double (*f)(double); } cases[] = {
      {Activation::none, [](double x) { return x; }}, {Activation::relu, [](double x) { return x > 0 ? x : 0; }},
      {Activation::gelu, gelu}, {Activation::gelu_tanh, gelu_tanh}, {Activation::silu, silu}};
  const auto plain = run(p, serial);
  for (const auto& c : cases) {
    const auto y = run(p, serial,
                       {.bias = bias.data(), .activation = c.a, .residual = residual.data(), .residual_stride = 37});
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double before = static_cast<double>(plain[i]) + bias[i % 37];
      EXPECT_NEAR(y[i], c.f(before) + residual[i], 2e-6 * (1 + std::abs(before) + std::abs(residual[i])));
    }
  }
}

TEST_P(MatmulOnIsa, InputScaleMultipliesX) {
  test::Rng rng(5);
  for (const Scheme scheme : {Scheme::i8, Scheme::u4, Scheme::u4_int8}) {
    auto q = test::random_quantized(scheme, 20, 77, 16, rng);
    if (scheme == Scheme::i8) q = test::random_quantized(scheme, 20, 77, 0, rng);
    const auto mode = scheme == Scheme::u4_int8 ? std::optional(kernels::Activations::int8) : std::nullopt;
    Problem p{.packed = pack(q, mode), .weights = std::vector<float>(20 * 77), .x = std::vector<float>(3 * 77), .m = 3, .n = 20, .k = 77};
    for (float& v : p.x) v = rng.normal();
    q.input_scale.resize(77);
    for (float& s : q.input_scale) s = 0.5f + std::abs(rng.normal());
    const auto scaled = pack(q, mode);
    std::vector<float> y(60);
    matmul({p.x.data(), 3, 77}, scaled.view, {y.data(), 3, 20}, {}, serial);
    for (std::size_t i = 0; i < p.x.size(); ++i) p.x[i] *= q.input_scale[i % 77];
    const auto expected = run(p, serial);
    EXPECT_EQ(0, std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)));
  }
}

TEST_P(MatmulOnIsa, RowsWithNanOrInfGiveNanAndOthersStayRight) {
  for (const Scheme scheme : {Scheme::i8, Scheme::u4_int8}) {
    Problem p = test::random_problem(scheme, 4, 20, 70, 0);
    const auto before = run(p, serial);
    p.x[1 * 70 + 69] = NAN;
    p.x[2 * 70 + 3] = -INFINITY;
    const auto y = run(p, serial);
    for (std::size_t n = 0; n < 20; ++n) {
      EXPECT_EQ(y[n], before[n]);
      EXPECT_TRUE(std::isnan(y[20 + n]));
      EXPECT_TRUE(std::isnan(y[40 + n]));
      EXPECT_EQ(y[60 + n], before[60 + n]);
    }
  }
}

TEST_P(MatmulOnIsa, RowsWithNanOrInfAreNotFiniteWithBf16Activations) {
  Problem p = test::random_problem(Scheme::u4, 3, 20, 70, 32);
  const auto before = run(p, serial);
  p.x[69] = NAN;
  p.x[2 * 70 + 3] = -INFINITY;
  const auto y = run(p, serial);
  for (std::size_t n = 0; n < 20; ++n) {
    EXPECT_TRUE(std::isnan(y[n]));
    EXPECT_EQ(y[20 + n], before[20 + n]);
    EXPECT_FALSE(std::isfinite(y[40 + n]));
  }
}

TEST_P(MatmulOnIsa, ZeroAndDenormalRowsGiveTheBias) {
  Problem p = test::random_problem(Scheme::i8, 2, 20, 70, 0);
  std::fill(p.x.begin(), p.x.begin() + 70, 0.0f);
  std::fill(p.x.begin() + 70, p.x.end(), 1e-40f);
  const std::vector<float> bias(20, 0.5f);
  for (const float v : run(p, serial, {.bias = bias.data()})) EXPECT_EQ(v, 0.5f);
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(MatmulOnIsa);

TEST(Matmul, RefusesShapesThatDoNotFit) {
  const Problem p = test::random_problem(Scheme::f32, 2, 3, 4, 0);
  std::vector<float> y(6);
  Executor serial(1);
  try {
    matmul({p.x.data(), 2, 3}, p.packed.view, {y.data(), 2, 3}, {}, serial);
    FAIL();
  } catch (const InvalidArgument& e) {
    EXPECT_STREQ(e.what(), "matmul: x has 3 columns, the weights 4 input features");
  }
  EXPECT_THROW(matmul({p.x.data(), 2, 4}, p.packed.view, {y.data(), 2, 2}, {}, serial), InvalidArgument);
  const auto no_rows = [](std::size_t, std::size_t, float*) { FAIL(); };
  EXPECT_THROW(matmul(no_rows, p.packed.view, {y.data(), 2, 2}, {}, serial), InvalidArgument);
}

}  // namespace
}  // namespace qeff
