// Attention of one sequence and head with every kernel table, against double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/emulation/emulated_tables.hpp"
#include "support/guarded_floats.hpp"
#include "support/packed_problem.hpp"

namespace qeff {
namespace {

/// q, k, v side by side in rows of 3 * head_dim, as a fused projection writes them.
struct AttentionProblem {
  std::size_t tokens, head_dim;
  float scale;
  test::GuardedFloats qkv, bias, out;

  AttentionProblem(std::size_t t, std::size_t d, float spread = 1.0f)
      : tokens(t), head_dim(d), scale(1.0f / std::sqrt(static_cast<float>(d))), qkv(t * 3 * d), bias(t * t), out(t * d) {
    test::Rng rng(static_cast<unsigned>(t * 131 + d));
    for (std::size_t i = 0; i < t * 3 * d; ++i) qkv.data[i] = spread * rng.normal();
    for (std::size_t i = 0; i < t * t; ++i) bias.data[i] = rng.normal();
  }

  [[nodiscard]] kernels::AttentionArgs args(bool with_bias) const {
    return {.q = qkv.data, .k = qkv.data + head_dim, .v = qkv.data + 2 * head_dim, .qkv_stride = 3 * head_dim,
            .out = out.data, .out_stride = head_dim, .tokens = tokens, .head_dim = head_dim, .scale = scale,
            .bias = with_bias ? bias.data : nullptr, .bias_stride = tokens};
  }
};

void run(const kernels::AttentionArgs& args) {
  const auto& table = kernels::active();
  const test::GuardedFloats scratch(table.attention_scratch(args.tokens, args.head_dim));
  table.attention(args, scratch.data);
}

/// Row i of the result in double, and how far float32, or bf16, may be from it.
void expect_row(const kernels::AttentionArgs& a, std::size_t i) {
  const double rounding = a.bf16 ? 0x1p-9 : 0.0;  // of q, k, v and the weights
  std::vector<double> p(a.tokens);
  double most = -INFINITY, score_error = 0, rounded_score = 0, sum = 0;
  for (std::size_t j = 0; j < a.tokens; ++j) {
    double dot = 0, magnitude = 0;
    for (std::size_t d = 0; d < a.head_dim; ++d) {
      const double product = static_cast<double>(a.q[i * a.qkv_stride + d]) * a.k[j * a.qkv_stride + d];
      dot += product, magnitude += std::abs(product);
    }
    const double b = a.bias ? a.bias[i * a.bias_stride + j] : 0.0;
    p[j] = dot * a.scale + b;
    most = std::max(most, p[j]);
    const double rounded = std::isinf(b) ? 0.0 : std::abs(p[j]) + std::abs(b);
    score_error = std::max(score_error, magnitude * a.scale * static_cast<double>(a.head_dim + 2) + rounded);
    rounded_score = std::max(rounded_score, magnitude * a.scale * 2 * rounding);
  }
  for (double& e : p) sum += e = std::exp(e - most);
  const double relative = 0x1p-23 * (2 * score_error + std::min(88.0, std::abs(most)) + static_cast<double>(a.tokens) + 24) +
                          2 * rounded_score + 2 * rounding;
  for (std::size_t d = 0; d < a.head_dim; ++d) {
    double value = 0, magnitude = 0;
    for (std::size_t j = 0; j < a.tokens; ++j) {
      const double product = p[j] / sum * a.v[j * a.qkv_stride + d];
      value += product, magnitude += std::abs(product);
    }
    ASSERT_NEAR(a.out[i * a.out_stride + d], value, relative * magnitude + 1e-30)
        << "tokens " << a.tokens << ", head_dim " << a.head_dim << ", row " << i << ", dim " << d;
  }
}

void expect_right(const kernels::AttentionArgs& a) {
  for (std::size_t i = 0; i < a.tokens; ++i) expect_row(a, i);
}

class AttentionOnIsa : public test::IsaTest {};

TEST_P(AttentionOnIsa, AnyNumberOfTokensAndDimensionsIsRightAndStaysInBounds) {
  for (const std::size_t tokens : {1u, 2u, 5u, 13u, 15u, 16u, 17u, 33u, 70u})
    for (const std::size_t head_dim : {1u, 3u, 16u, 17u, 32u, 64u})
      for (const bool with_bias : {false, true}) {
        const AttentionProblem p(tokens, head_dim);
        run(p.args(with_bias));
        expect_right(p.args(with_bias));
      }
}

TEST_P(AttentionOnIsa, LargeScoresNeitherOverflowNorBecomeNan) {
  const AttentionProblem p(21, 32, 30.0f);
  run(p.args(true));
  expect_right(p.args(true));
}

TEST_P(AttentionOnIsa, RoundedToBf16AsAsked) {
  for (const std::size_t tokens : {1u, 2u, 15u, 17u, 33u, 70u})
    for (const std::size_t head_dim : {1u, 3u, 17u, 32u, 64u})
      for (const bool with_bias : {false, true}) {
        const AttentionProblem p(tokens, head_dim);
        auto args = p.args(with_bias);
        run(args);
        const std::vector<float> floats(p.out.data, p.out.data + tokens * head_dim);
        args.bf16 = true;
        run(args);
        expect_right(args);
        EXPECT_FALSE(std::equal(floats.begin(), floats.end(), p.out.data)) << tokens << " tokens, head_dim " << head_dim;
      }
}

TEST_P(AttentionOnIsa, MaskedKeysDoNotCount) {
  for (const float mask : {-1e9f, -INFINITY}) {
    const AttentionProblem p(19, 16);
    for (std::size_t i = 0; i < 19; ++i)
      for (std::size_t j = 7; j < 19; ++j) p.bias.data[i * 19 + j] = mask;
    run(p.args(true));
    expect_right(p.args(true));
    auto seven = p.args(true);  // rows 0..6 alone, keys 0..6 only
    seven.tokens = 7;
    std::vector<float> out(7 * 16);
    seven.out = out.data();
    run(seven);
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], p.out.data[i], 1e-6);
  }
}

TEST_P(AttentionOnIsa, ARowWhoseQueryIsNanIsNanAndTheOthersAreRight) {
  const AttentionProblem p(18, 16);
  p.qkv.data[4 * 48 + 3] = NAN;
  run(p.args(false));
  for (std::size_t d = 0; d < 16; ++d) EXPECT_TRUE(std::isnan(p.out.data[4 * 16 + d]));
  for (std::size_t i = 0; i < 18; ++i)
    if (i != 4) expect_row(p.args(false), i);
}

TEST_P(AttentionOnIsa, WritesOnlyItsColumnsOfOut) {
  const AttentionProblem p(9, 17);
  std::vector<float> wide(9 * 40, 7.0f);
  auto args = p.args(false);
  args.out = wide.data() + 5, args.out_stride = 40;
  run(args);
  expect_right(args);
  for (std::size_t i = 0; i < wide.size(); ++i) {
    const bool mine = i % 40 >= 5 && i % 40 < 22;
    EXPECT_TRUE(mine || wide[i] == 7.0f) << i;
  }
}

QEFF_INSTANTIATE_FOR_ALL_KERNELS(AttentionOnIsa);

}  // namespace
}  // namespace qeff
