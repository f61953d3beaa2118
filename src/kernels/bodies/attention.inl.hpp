/// @file
/// softmax(scale q k^T + bias) v of one sequence and head, through the float tile. See KernelTable::attention.
#pragma once

#include <cstddef>

#include "kernels/bodies/math.inl.hpp"
#include "kernels/bodies/tile.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

template <class S>
class Attention {
  using F32 = typename S::F32;
  using Tile = VectorTile<S>;
  static constexpr std::size_t kColumns = Tile::kPanels * 16;

  QEFF_INLINE static std::size_t padded(std::size_t n) noexcept { return (n + 15) / 16 * 16; }

 public:
  static std::size_t scratch(std::size_t tokens, std::size_t head_dim) noexcept {
    return padded(tokens) * head_dim + tokens * padded(head_dim) + Tile::kRows * padded(tokens);
  }

  static void run(const AttentionArgs& args, float* scratch) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim;
    float* keys = scratch;                       // [panel of 16 keys][d][16]
    float* values = keys + padded(t) * d;        // [panel of 16 dims][t][16]
    float* scores = values + t * padded(d);      // [kRows][padded(t)]
    transpose_keys(args, keys);
    copy_values(args, values);
    for (std::size_t i = 0; i < t; i += Tile::kRows) {
      const std::size_t rows = t - i < Tile::kRows ? t - i : Tile::kRows;
      float sums[Tile::kRows];
      for (std::size_t j = 0; j < t; j += kColumns)
        Tile::f32(args.q + i * args.qkv_stride, args.qkv_stride, keys + j * d, 16, 16 * d, panels(t - j), d, rows,
                  [&](std::size_t p, std::size_t r, F32 v) QEFF_INLINE_LAMBDA {
                    S::store(scores + r * padded(t) + j + p * 16, v);
                  });
      for (std::size_t r = 0; r < rows; ++r)
        sums[r] = softmax(args, scores + r * padded(t), args.bias ? args.bias + (i + r) * args.bias_stride : nullptr);
      weighted_values(args, values, scores, i, rows, sums);
    }
  }

 private:
  static void transpose_keys(const AttentionArgs& args, float* keys) noexcept {
    for (std::size_t j = 0; j < padded(args.tokens); ++j) {
      float* out = keys + j / 16 * 16 * args.head_dim + j % 16;
      const float* k = args.k + j * args.qkv_stride;
      for (std::size_t i = 0; i < args.head_dim; ++i) out[i * 16] = j < args.tokens ? k[i] : 0.0f;
    }
  }

  static void copy_values(const AttentionArgs& args, float* values) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim;
    for (std::size_t i = 0; i < d; i += 16)
      for (std::size_t j = 0; j < t; ++j) {
        const float* v = args.v + j * args.qkv_stride + i;
        S::store(values + i * t + j * 16, d - i >= 16 ? S::load(v) : S::load_part(v, d - i));
      }
  }

  /// Scores to exp(score - max), in place; returns their sum.
  static float softmax(const AttentionArgs& args, float* s, const float* bias) noexcept {
    const std::size_t t = args.tokens;
    const F32 scale = S::set1(args.scale);
    for (std::size_t j = t; j < padded(t); ++j) s[j] = 0.0f;
    F32 most = S::set1(-3.0e38f);
    for (std::size_t j = 0; j < t; j += 16) {
      const std::size_t n = t - j;
      F32 v = S::mul(S::load(s + j), scale);
      if (bias != nullptr) v = S::add(v, n >= 16 ? S::load(bias + j) : S::load_part(bias + j, n));
      S::store(s + j, v);
      if (n < 16)
        for (std::size_t i = t; i < padded(t); ++i) s[i] = -3.0e38f;
      most = S::max(most, S::load(s + j));
    }
    const F32 max = S::set1(S::max_lane(most));
    F32 sum = S::set1(0.0f);
    for (std::size_t j = 0; j < t; j += 16) {
      const F32 e = Math<S>::exp(S::sub(S::load(s + j), max));
      S::store(s + j, e);
      if (t - j < 16)
        for (std::size_t i = t; i < padded(t); ++i) s[i] = 0.0f;
      sum = S::add(sum, S::load(s + j));
    }
    return S::sum(sum);
  }

  static void weighted_values(const AttentionArgs& args, const float* values, const float* scores, std::size_t i,
                              std::size_t rows, const float* sums) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim;
    for (std::size_t c = 0; c < d; c += kColumns)
      Tile::f32(scores, padded(t), values + c * t, 16, 16 * t, panels(d - c), t, rows,
                [&](std::size_t p, std::size_t r, F32 sum) QEFF_INLINE_LAMBDA {
                  const F32 v = S::mul(sum, S::set1(1.0f / sums[r]));
                  const std::size_t column = c + p * 16;
                  float* out = args.out + (i + r) * args.out_stride + column;
                  if (d - column >= 16)
                    S::store(out, v);
                  else
                    S::store_part(out, v, d - column);
                });
  }

  /// Panels of one tile, of those that hold n columns.
  QEFF_INLINE static std::size_t panels(std::size_t n) noexcept { return n > kColumns - 16 ? Tile::kPanels : (n + 15) / 16; }
};

}  // namespace qeff::kernels
