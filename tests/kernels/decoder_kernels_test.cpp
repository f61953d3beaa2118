// RMS norm, gate, rope and attention over cached keys with every kernel table, against double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "nn/kv_cache.hpp"
#include "qeff/core/minifloat.hpp"
#include "qeff/kernels/matmul.hpp"
#include "support/emulation/emulated_tables.hpp"
#include "support/guarded_floats.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

using kernels::CachedAs;

std::vector<float> normals(std::size_t n, unsigned seed) {
  test::Rng rng(seed);
  std::vector<float> values(n);
  for (float& v : values) v = rng.normal();
  return values;
}

class DecoderKernelsOnIsa : public test::IsaTest {};

TEST_P(DecoderKernelsOnIsa, RmsNormIsRightForAnyLengthAndStaysInBounds) {
  for (const std::size_t n : {1u, 3u, 15u, 16u, 17u, 64u, 100u, 577u}) {
    const test::GuardedFloats x(3 * n), gamma(n), out(3 * n);
    std::ranges::copy(normals(3 * n, 1), x.data);
    std::ranges::copy(normals(n, 2), gamma.data);
    kernels::active().rms_norm(x.data, n, gamma.data, 1e-5f, out.data, n, 3, n);
    for (std::size_t r = 0; r < 3; ++r) {
      double squares = 0;
      for (std::size_t i = 0; i < n; ++i) squares += std::pow(static_cast<double>(x.data[r * n + i]), 2);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      for (std::size_t i = 0; i < n; ++i) {
        const double right = x.data[r * n + i] * scale * gamma.data[i];
        ASSERT_NEAR(out.data[r * n + i], right, 1e-5 * std::abs(right)) << n;
      }
    }
  }
}

TEST_P(DecoderKernelsOnIsa, GateMultipliesTheActivatedFirstHalfByTheSecond) {
  for (const std::size_t n : {1u, 16u, 31u, 80u}) {
    const test::GuardedFloats x(2 * 2 * n), out(2 * n);
    std::ranges::copy(normals(4 * n, 3), x.data);
    kernels::active().gate(x.data, n, static_cast<std::uint8_t>(Activation::silu), out.data, 2);
    for (std::size_t r = 0; r < 2; ++r)
      for (std::size_t i = 0; i < n; ++i) {
        const double g = x.data[r * 2 * n + i], right = g / (1 + std::exp(-g)) * x.data[r * 2 * n + n + i];
        ASSERT_NEAR(out.data[r * n + i], right, 1e-6 + 1e-5 * std::abs(right)) << n;
      }
  }
}

TEST_P(DecoderKernelsOnIsa, RopeTurnsPairsAndLeavesTheRest) {
  const std::size_t heads = 3, dim = 44;
  for (const std::size_t half : {1u, 8u, 16u, 19u, 22u}) {
    const test::GuardedFloats x(heads * dim), cos(half), sin(half);
    const auto before = normals(heads * dim, 4);
    std::ranges::copy(before, x.data);
    for (std::size_t i = 0; i < half; ++i)
      cos.data[i] = std::cos(static_cast<float>(i)), sin.data[i] = std::sin(static_cast<float>(i));
    kernels::active().rope(x.data, heads, dim, cos.data, sin.data, half);
    for (std::size_t h = 0; h < heads; ++h)
      for (std::size_t i = 0; i < dim; ++i) {
        const float* from = before.data() + h * dim;
        double right = from[i];
        if (i < half) right = static_cast<double>(from[i]) * cos.data[i] - static_cast<double>(from[half + i]) * sin.data[i];
        if (i >= half && i < 2 * half)
          right = static_cast<double>(from[i]) * cos.data[i - half] + static_cast<double>(from[i - half]) * sin.data[i - half];
        ASSERT_NEAR(x.data[h * dim + i], right, 1e-6) << half << " " << i;
      }
  }
}

/// Tokens of one sequence with their queries, keys and values.
struct CachedProblem {
  std::size_t tokens, heads, kv_heads, dim;
  std::vector<float> q, k, v;
  nn::KvCache cache;

  CachedProblem(std::size_t t, std::size_t h, std::size_t kv, std::size_t d, CachedAs format)
      : tokens(t), heads(h), kv_heads(kv), dim(d), q(normals(t * h * d, 5)), k(normals(t * kv * d, 6)),
        v(normals(t * kv * d, 7)), cache(2, 3, kv, d, t, format) {
    for (std::size_t i = 0; i < t; ++i) cache.store(1, 2, i, k.data() + i * kv * d, v.data() + i * kv * d);
  }

  /// by_segments: every segment in a call of its own, the last one first.
  std::vector<float> run(std::size_t first, std::size_t count, std::size_t window, float softcap,
                         bool by_segments = false) const {
    std::vector<float> out(count * heads * dim);
    const test::GuardedFloats scratch(kernels::active().cached_attention_scratch(dim));
    const std::size_t group = heads / kv_heads;
    for (std::size_t h = 0; h < kv_heads; ++h) {
      kernels::CachedAttentionArgs args;
      args.q = q.data() + first * heads * dim + h * group * dim;
      args.q_stride = args.out_stride = heads * dim;
      args.tokens = count, args.heads = group, args.head_dim = dim;
      args.first = first, args.window = window, args.softcap = softcap, args.scale = 0.3f;
      args.out = out.data() + h * group * dim;
      cache.point(args, 1, 2, h);
      if (by_segments)
        run_segments(args, scratch.data);
      else
        kernels::active().cached_attention(args, scratch.data);
    }
    return out;
  }

  static void run_segments(kernels::CachedAttentionArgs args, float* scratch) {
    const std::size_t from = args.window && args.first >= args.window ? args.first - args.window + 1 : 0;
    const std::size_t begin = from / kernels::kAttentionSegment;
    const std::size_t end = (args.first + args.tokens - 1) / kernels::kAttentionSegment + 1;
    const std::size_t floats = args.tokens * args.heads * kernels::attention_sums(args.head_dim);
    const test::GuardedFloats sums((end - begin) * floats);
    for (std::size_t s = end; s-- > begin;) {
      args.segment = s, args.sums = sums.data + (s - begin) * floats;
      kernels::active().cached_attention(args, scratch);
    }
    args.sums = sums.data;
    kernels::active().join_attention(args, end - begin);
  }

  /// What the cache holds of a row of k or v.
  static std::vector<double> held(const float* x, std::size_t n, CachedAs format) {
    float most = 0;
    for (std::size_t i = 0; i < n; ++i) most = std::abs(x[i]) > std::abs(most) ? x[i] : most;
    const float scale = format == CachedAs::int8 ? std::abs(most) / 127 : most / -8;
    std::vector<double> values(x, x + n);
    for (std::size_t i = 0; i < n; ++i) {
      if (format == CachedAs::bf16) values[i] = static_cast<double>(static_cast<float>(bf16_t(x[i])));
      if (format >= CachedAs::int8)
        values[i] = std::min(std::nearbyint(x[i] * (1 / scale)), format == CachedAs::int8 ? 127.0f : 7.0f) * scale;
    }
    return values;
  }

  /// Where bf16 is multiplied, queries and weights of a cache in bf16 are rounded to it.
  [[nodiscard]] bool rounds() const {
    return kernels::active().multiplies_bf16 && cache.format() == CachedAs::bf16;
  }
  [[nodiscard]] double query(float scaled) const {
    return rounds() ? static_cast<double>(static_cast<float>(bf16_t(scaled))) : static_cast<double>(scaled);
  }
  /// Weights, which are rounded by up to 1 / 512 of themselves, add up to 1; values are up to 4.
  [[nodiscard]] double tolerance() const { return rounds() ? 2e-3 : 2e-5; }

  void expect_right(std::size_t first, std::size_t count, std::size_t window, float softcap) const {
    const auto out = run(first, count, window, softcap);
    for (std::size_t t = first; t < first + count; ++t)
      for (std::size_t h = 0; h < heads; ++h) {
        std::vector<double> right(dim), weights;
        double sum = 0;
        const std::size_t from = window && t + 1 > window ? t + 1 - window : 0, kv = h / (heads / kv_heads);
        for (std::size_t j = from; j <= t; ++j) {
          const auto key = held(k.data() + (j * kv_heads + kv) * dim, dim, cache.format());
          double s = 0;
          for (std::size_t i = 0; i < dim; ++i) s += key[i] * query(q[(t * heads + h) * dim + i] * 0.3f);
          if (softcap != 0) s = softcap * std::tanh(s / softcap);
          weights.push_back(std::exp(s)), sum += weights.back();
        }
        for (std::size_t j = from; j <= t; ++j) {
          const auto value = held(v.data() + (j * kv_heads + kv) * dim, dim, cache.format());
          for (std::size_t i = 0; i < dim; ++i) right[i] += value[i] * weights[j - from] / sum;
        }
        for (std::size_t i = 0; i < dim; ++i)
          ASSERT_NEAR(out[((t - first) * heads + h) * dim + i], right[i], tolerance()) << "token " << t << " head " << h;
      }
  }
};

TEST_P(DecoderKernelsOnIsa, CachedAttentionIsRightInEveryFormat) {
  for (const CachedAs format : {CachedAs::f32, CachedAs::bf16, CachedAs::int8, CachedAs::int4}) {
    CachedProblem(1, 1, 1, 1, format).expect_right(0, 1, 0, 0);
    CachedProblem(70, 2, 2, 7, format).expect_right(0, 70, 0, 0);
    const CachedProblem grouped(150, 6, 2, 20, format);
    grouped.expect_right(149, 1, 0, 0);
    grouped.expect_right(100, 30, 0, 0);
    grouped.expect_right(60, 9, 17, 0);
    grouped.expect_right(130, 20, 64, 5.0f);
    CachedProblem(66, 3, 1, 64, format).expect_right(3, 63, 0, 2.0f);
  }
}

TEST_P(DecoderKernelsOnIsa, ATokenGetsTheSameBytesAloneAndInABlock) {
  for (const CachedAs format : {CachedAs::f32, CachedAs::bf16, CachedAs::int8, CachedAs::int4}) {
    const CachedProblem p(140, 4, 2, 24, format);
    const auto all = p.run(0, 140, 33, 0);
    for (const std::size_t t : {0u, 1u, 63u, 64u, 65u, 139u}) {
      const auto one = p.run(t, 1, 33, 0);
      EXPECT_EQ(0, std::memcmp(one.data(), all.data() + t * 4 * 24, one.size() * sizeof(float))) << t;
    }
  }
}

TEST_P(DecoderKernelsOnIsa, SegmentsOfKeysJoinToTheBytesOfOneCall) {
  for (const CachedAs format : {CachedAs::f32, CachedAs::bf16, CachedAs::int8, CachedAs::int4})
    for (const std::size_t window : {0u, 40u, 300u}) {
      const CachedProblem p(600, 2, 1, 20, format);
      p.expect_right(599, 1, window, 0);
      p.expect_right(250, 20, window, 0);
      const auto block = p.run(505, 20, window, 2.0f);
      for (const std::size_t count : {1u, 8u, 20u}) {
        const auto parts = p.run(505, count, window, 2.0f, true);
        EXPECT_EQ(0, std::memcmp(parts.data(), block.data(), parts.size() * sizeof(float))) << window << " " << count;
      }
    }
}

TEST_P(DecoderKernelsOnIsa, AKeyThatIsNotANumberIsNeverTakenForOne) {
  for (const CachedAs format : {CachedAs::f32, CachedAs::bf16, CachedAs::int8, CachedAs::int4}) {
    CachedProblem p(20, 1, 1, 16, format);
    p.k[7 * 16 + 3] = std::numeric_limits<float>::quiet_NaN();
    p.cache.store(1, 2, 7, p.k.data() + 7 * 16, p.v.data() + 7 * 16);
    EXPECT_TRUE(std::isnan(p.run(19, 1, 0, 0)[0]));
    EXPECT_FALSE(std::isnan(p.run(6, 1, 0, 0)[0]));
  }
}

TEST_P(DecoderKernelsOnIsa, ACopiedPrefixAttendsAsTheOriginal) {
  for (const CachedAs format : {CachedAs::f32, CachedAs::bf16, CachedAs::int8, CachedAs::int4}) {
    CachedProblem p(81, 2, 1, 10, format);
    const auto before = p.run(76, 1, 0, 0);
    p.cache.copy(2, 0, 77);
    p.cache.copy(0, 2, 77);
    const auto after = p.run(76, 1, 0, 0);
    EXPECT_EQ(0, std::memcmp(before.data(), after.data(), after.size() * sizeof(float)));
  }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(DecoderKernelsOnIsa);

}  // namespace
}  // namespace qeff
