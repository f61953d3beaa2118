/// @file
/// softmax(scale q k^T + bias) v of one sequence and head, through the float tile or that of bf16 pairs. See
/// KernelTable::attention.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/math.inl.hpp"
#include "kernels/bodies/tile.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

template <class S>
class Attention {
  using F32 = typename S::F32;
  using Tile = VectorTile<S>;
  static constexpr std::size_t kRows = Tile::kRows;
  static constexpr std::size_t kColumns = Tile::kPanels * 16;

  QEFF_INLINE static std::size_t padded(std::size_t n) noexcept { return (n + 15) / 16 * 16; }

 public:
  static std::size_t scratch(std::size_t tokens, std::size_t head_dim) noexcept {
    return padded(tokens) * (padded(head_dim) + kRows) + (tokens + 1 + kRows) * padded(head_dim);
  }

  static void run(const AttentionArgs& args, float* scratch) noexcept {
    if constexpr (S::kBf16)
      if (args.bf16) return run_as<true>(args, scratch);
    run_as<false>(args, scratch);
  }

 private:
  /// Lanes of the last 16 keys: what is added to scores, and what weights are multiplied by.
  struct Tail {
    alignas(64) float add[16], keep[16];
    explicit Tail(std::size_t tokens) noexcept {
      for (std::size_t i = 0; i < 16; ++i) {
        const bool is_key = padded(tokens) - 16 + i < tokens;
        add[i] = is_key ? 0.0f : -3.0e38f;
        keep[i] = is_key ? 1.0f : 0.0f;
      }
    }
  };

  /// kPairs: queries (times the scale), keys, weights and values rounded to bf16.
  template <bool kPairs>
  static void run_as(const AttentionArgs& args, float* scratch) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim, steps = kPairs ? (d + 1) / 2 * 2 : d;
    float* const scores = scratch;                           // [kRows][padded(t)]; pairs: weights where a row begins
    float* const queries = scores + kRows * padded(t);       // pairs: [kRows][padded(d)]
    float* const keys = queries + kRows * padded(d);         // [panel of 16 keys][d][16]; pairs: [steps / 2][16][2]
    float* const values = keys + padded(t) * padded(d);      // [panel of 16 dims][t][16]; likewise
    const Tail tail(t);
    if constexpr (kPairs)
      pair_keys(args, keys), pair_values(args, values);
    else
      transpose_keys(args, keys), copy_values(args, values);
    for (std::size_t i = 0; i < t; i += kRows) {
      const std::size_t rows = t - i < kRows ? t - i : kRows;
      if constexpr (kPairs) round_queries(args, i, rows, queries);
      for (std::size_t j = 0; j < t; j += kColumns)
        multiply<kPairs>(kPairs ? queries : args.q + i * args.qkv_stride, kPairs ? padded(d) : args.qkv_stride, keys, j,
                         steps, t, rows, [&](std::size_t p, std::size_t r, F32 v) QEFF_INLINE_LAMBDA {
                           S::store(scores + r * padded(t) + j + p * 16, v);
                         });
      float inverse[kRows];
      for (std::size_t r = 0; r < rows; ++r)
        inverse[r] = 1.0f / softmax<kPairs>(args, scores + r * padded(t), i + r, tail);
      const std::size_t value_steps = kPairs ? (t + 1) / 2 * 2 : t;
      for (std::size_t c = 0; c < d; c += kColumns)
        multiply<kPairs>(scores, kPairs ? 2 * padded(t) : padded(t), values, c, value_steps, d, rows,
                         [&](std::size_t p, std::size_t r, F32 sum) QEFF_INLINE_LAMBDA {
                           store_row(args, i + r, c + p * 16, S::mul(sum, S::set1(inverse[r])));
                         });
    }
  }

  /// take(panel, row, sums): rows a by the columns from `first` on of the `columns` at b, in panels of 16.
  template <bool kPairs, class Take>
  QEFF_INLINE static void multiply(const float* a, std::size_t a_stride, const float* b, std::size_t first,
                                   std::size_t steps, std::size_t columns, std::size_t rows, const Take& take) noexcept {
    const std::size_t left = columns - first;
    const std::size_t panels = left > kColumns - 16 ? Tile::kPanels : (left + 15) / 16;
    if constexpr (kPairs) {
      const std::size_t pitch = steps * 16 * sizeof(std::uint16_t);
      Tile::bf16(reinterpret_cast<const std::uint16_t*>(a), a_stride, reinterpret_cast<const std::byte*>(b) + first / 16 * pitch,
                 pitch, panels, steps, rows, take);
    } else {
      Tile::f32(a, a_stride, b + first * steps, 16, 16 * steps, panels, steps, rows, take);
    }
  }

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
      for (std::size_t j = 0; j < t; ++j) S::store(values + i * t + j * 16, part(args.v + j * args.qkv_stride + i, d - i));
  }

  QEFF_INLINE static F32 part(const float* p, std::size_t left) noexcept {
    return left >= 16 ? S::load(p) : S::load_part(p, left);
  }

  /// Keys as they are, rounded, their pairs side by side in the order of the keys.
  static void pair_keys(const AttentionArgs& args, float* keys) noexcept {
    const std::size_t d = args.head_dim, pairs = (d + 1) / 2;
    for (std::size_t j = 0; j < padded(args.tokens); ++j) {
      auto* out = reinterpret_cast<std::uint32_t*>(keys) + j / 16 * 16 * pairs + j % 16;
      const float* k = args.k + j * args.qkv_stride;
      for (std::size_t i = 0; i < d; i += 16) {
        alignas(64) std::uint32_t two[8];
        S::store_bf16(reinterpret_cast<std::uint16_t*>(two), j < args.tokens ? part(k + i, d - i) : S::set1(0.0f));
        const std::size_t n = pairs - i / 2 < 8 ? pairs - i / 2 : 8;
        for (std::size_t p = 0; p < n; ++p) out[(i / 2 + p) * 16] = two[p];
      }
    }
  }

  static void pair_values(const AttentionArgs& args, float* values) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim, pairs = (t + 1) / 2;
    for (std::size_t i = 0; i < d; i += 16)
      for (std::size_t j = 0; j < t; j += 2) {
        const float* v = args.v + j * args.qkv_stride + i;
        const F32 second = j + 1 < t ? part(v + args.qkv_stride, d - i) : S::set1(0.0f);
        alignas(64) std::uint16_t two[2][16];
        S::store_bf16(two[0], part(v, d - i));
        S::store_bf16(two[1], second);
        S::store(reinterpret_cast<std::int32_t*>(values) + i * pairs + j / 2 * 16,
                 S::or_(S::load_u16(two[0]), S::template shl<16>(S::load_u16(two[1]))));
      }
  }

  static void round_queries(const AttentionArgs& args, std::size_t first, std::size_t rows, float* queries) noexcept {
    const std::size_t d = args.head_dim;
    for (std::size_t r = 0; r < rows; ++r) {
      const float* q = args.q + (first + r) * args.qkv_stride;
      auto* out = reinterpret_cast<std::uint16_t*>(queries) + r * padded(d);
      for (std::size_t i = 0; i < d; i += 16) S::store_bf16(out + i, S::mul(part(q + i, d - i), S::set1(args.scale)));
    }
  }

  /// The scores of a row to exp(score - max), in place; as bf16 from where the row begins if kPairs. Returns their sum.
  template <bool kPairs>
  static float softmax(const AttentionArgs& args, float* s, std::size_t row, const Tail& tail) noexcept {
    const std::size_t t = args.tokens, last = padded(t) - 16;
    const float* bias = args.bias != nullptr ? args.bias + row * args.bias_stride : nullptr;
    const bool rewrites = !kPairs || bias != nullptr;
    F32 most = S::set1(-3.0e38f);
    for (std::size_t j = 0; j < t; j += 16) {
      F32 v = S::load(s + j);
      if constexpr (!kPairs) v = S::mul(v, S::set1(args.scale));
      if (bias != nullptr) v = S::add(v, part(bias + j, t - j));
      if (rewrites) S::store(s + j, v);
      most = S::max(most, j == last ? S::add(v, S::load(tail.add)) : v);
    }
    const F32 max = S::set1(S::max_lane(most));
    F32 sum = S::set1(0.0f);
    for (std::size_t j = 0; j < t; j += 16) {
      F32 e = Math<S>::exp(S::sub(S::load(s + j), max));
      if (j == last) e = S::mul(e, S::load(tail.keep));
      sum = S::add(sum, e);
      if constexpr (kPairs)
        S::store_bf16(reinterpret_cast<std::uint16_t*>(s) + j, e);
      else
        S::store(s + j, e);
    }
    return S::sum(sum);
  }

  QEFF_INLINE static void store_row(const AttentionArgs& args, std::size_t row, std::size_t column, F32 v) noexcept {
    float* out = args.out + row * args.out_stride + column;
    if (args.head_dim - column >= 16)
      S::store(out, v);
    else
      S::store_part(out, v, args.head_dim - column);
  }
};

}  // namespace qeff::kernels
