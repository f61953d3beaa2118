/// @file
/// softmax(scale q k^T + bias) v of one sequence and head, through the float tile or that of bf16 pairs. See
/// KernelTable::attention.
///
/// The columns of a panel are 16 queries and its rows are keys: maxima and sums over the keys need no operation across
/// the lanes of a register, and keys and values are read in the order they come.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/lanes.inl.hpp"
#include "kernels/bodies/math.inl.hpp"
#include "kernels/bodies/tile.inl.hpp"
#include "kernels/bodies/transpose.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

template <class S>
class Attention {
  using F32 = typename S::F32;
  using I32 = typename S::I32;
  using Tile = VectorTile<S>;
  static constexpr std::size_t kRows = Tile::kRows;
  static constexpr std::size_t kColumns = Tile::kPanels * 16;
  static constexpr std::size_t kChains = 4;  ///< Maxima and sums that do not wait for each other.

  QEFF_INLINE static constexpr std::size_t padded(std::size_t n, std::size_t unit = 16) noexcept {
    return (n + unit - 1) / unit * unit;
  }

 public:
  static std::size_t scratch(std::size_t tokens, std::size_t head_dim) noexcept {
    return (padded(head_dim) * 2 + kColumns) * padded(tokens, 2) + kColumns * padded(head_dim, 32);
  }

  static void run(const AttentionArgs& args, float* scratch) noexcept {
    if (args.bf16)
      run_as<true>(args, scratch);
    else
      run_as<false>(args, scratch);
  }

 private:
  /// Operands rounded to bf16 are multiplied as pairs of neighbouring reduction indices where S does that, else as floats.
  template <bool kRounded>
  static constexpr bool kPairs = kRounded && S::kBf16;

  struct Operands {
    float* keys;     ///< [tokens][padded head_dim]; pairs: 16 bits each
    float* values;   ///< [panel of 16 dims][tokens][16]; pairs: [tokens / 2][16][2]
    float* queries;  ///< [panel of 16 queries][padded head_dim][16], times the scale; pairs: [head_dim / 2][16][2]
    float* scores;   ///< [panel of 16 queries][tokens][16]; pairs: weights as [tokens / 2][16][2] where it begins
  };

  template <bool kRounded>
  static void run_as(const AttentionArgs& args, float* scratch) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim, rows = padded(t, 2);
    Operands at;
    at.keys = scratch;
    at.values = at.keys + rows * padded(d);
    at.scores = at.values + rows * padded(d);
    at.queries = at.scores + rows * kColumns;
    take_keys<kRounded>(args, at.keys);
    if constexpr (kPairs<kRounded>)
      pair_values(args, at.values);
    else
      copy_values<kRounded>(args, at.values);
    for (std::size_t i = 0; i < t; i += kColumns) {
      const std::size_t panels = (least(t - i, kColumns) + 15) / 16;
      for (std::size_t p = 0; p < panels; ++p) take_queries<kRounded>(args, i + p * 16, at.queries + p * 16 * padded(d, 2));
      score<kRounded>(args, at, panels);
      for (std::size_t p = 0; p < panels; ++p) {
        float* scores = at.scores + p * 16 * rows;
        if (args.bias != nullptr) add_bias(args, i + p * 16, scores);
        alignas(64) float inverse[16];
        S::store(inverse, S::div(S::set1(1.0f), softmax<kRounded>(scores, t)));
        weigh<kRounded>(args, i + p * 16, scores, at.values, inverse);
      }
    }
  }

  template <bool kRounded>
  QEFF_INLINE static F32 taken(F32 v) noexcept {
    if constexpr (kRounded) return Math<S>::round_bf16(v);
    return v;
  }

  template <bool kRounded>
  static void take_keys(const AttentionArgs& args, float* keys) noexcept {
    const std::size_t d = args.head_dim;
    for (std::size_t j = 0; j < args.tokens; ++j) {
      const float* k = args.k + j * args.qkv_stride;
      for (std::size_t i = 0; i < d; i += 16)
        if constexpr (kPairs<kRounded>)
          S::store_bf16(reinterpret_cast<std::uint16_t*>(keys) + j * padded(d) + i, load_lanes<S>(k + i, d - i));
        else
          S::store(keys + j * padded(d) + i, taken<kRounded>(load_lanes<S>(k + i, d - i)));
    }
  }

  template <bool kRounded>
  static void copy_values(const AttentionArgs& args, float* values) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim;
    for (std::size_t j = 0; j < t; ++j)
      for (std::size_t i = 0; i < d; i += 16)
        S::store(values + i * t + j * 16, taken<kRounded>(load_lanes<S>(args.v + j * args.qkv_stride + i, d - i)));
  }

  static void pair_values(const AttentionArgs& args, float* values) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim, rows = padded(t, 2);
    for (std::size_t j = 0; j < t; j += 2)
      for (std::size_t i = 0; i < d; i += 16) {
        const float* v = args.v + j * args.qkv_stride + i;
        const F32 second = j + 1 < t ? load_lanes<S>(v + args.qkv_stride, d - i) : S::set1(0.0f);
        S::store_pair(reinterpret_cast<std::byte*>(values + (i * rows + j * 16) / 2), S::round_pairs(load_lanes<S>(v, d - i), second));
      }
  }

  /// Queries [first, first + 16) as columns; zeros beyond the last.
  template <bool kRounded>
  static void take_queries(const AttentionArgs& args, std::size_t first, float* queries) noexcept {
    constexpr std::size_t kSpan = kPairs<kRounded> ? 32 : 16;  // dims that 16 registers take
    const std::size_t d = args.head_dim, count = least(args.tokens - first, 16);
    const F32 scale = S::set1(args.scale);
    for (std::size_t i = 0; i < d; i += kSpan) {
      I32 v[16];
#pragma GCC unroll 16
      for (std::size_t r = 0; r < 16; ++r) {
        const float* q = args.q + (first + r) * args.qkv_stride + i;
        if (r >= count)
          v[r] = S::set1(std::int32_t{0});
        else if constexpr (kPairs<kRounded>)
          v[r] = round_row(q, d - i, scale);
        else
          v[r] = S::as_i32(taken<kRounded>(S::mul(load_lanes<S>(q, d - i), scale)));
      }
      transpose<S>(v);
      for (std::size_t r = 0; r < least((d - i + kSpan / 16 - 1) / (kSpan / 16), 16); ++r)
        S::store(reinterpret_cast<std::int32_t*>(queries) + (i / (kSpan / 16) + r) * 16, v[r]);
    }
  }

  /// 32 neighbours, of which `left` are there, times the scale in 16 bits each.
  QEFF_INLINE static I32 round_row(const float* q, std::size_t left, F32 scale) noexcept {
    const F32 second = left > 16 ? S::mul(load_lanes<S>(q + 16, left - 16), scale) : S::set1(0.0f);
    return S::as_i32(S::round_bf16(S::mul(load_lanes<S>(q, left), scale), second));
  }

  /// scores = keys by queries.
  template <bool kRounded>
  static void score(const AttentionArgs& args, const Operands& at, std::size_t panels) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim, rows = padded(t, 2), most = even_rows(t, kRows);
    for (std::size_t j = 0; j < t; j += most) {
      const auto take = [&](std::size_t p, std::size_t r, F32 v) QEFF_INLINE_LAMBDA {
        S::store(at.scores + (p * rows + j + r) * 16, v);
      };
      if constexpr (kPairs<kRounded>)
        Tile::bf16(reinterpret_cast<const std::uint16_t*>(at.keys) + j * padded(d), padded(d),
                   reinterpret_cast<const std::byte*>(at.queries), 16 * padded(d, 2) * sizeof(float), panels,
                   padded(d, 2), least(t - j, most), take);
      else
        Tile::f32(at.keys + j * padded(d), padded(d), at.queries, 16, 16 * padded(d, 2), panels, d, least(t - j, most), take);
    }
  }

  /// The bias of queries [first, first + 16) is added to their scores.
  static void add_bias(const AttentionArgs& args, std::size_t first, float* scores) noexcept {
    const std::size_t t = args.tokens, count = least(t - first, 16);
    for (std::size_t j = 0; j < t; j += 16) {
      I32 v[16];
#pragma GCC unroll 16
      for (std::size_t r = 0; r < 16; ++r)
        v[r] = r < count ? S::as_i32(load_lanes<S>(args.bias + (first + r) * args.bias_stride + j, t - j)) : S::set1(std::int32_t{0});
      transpose<S>(v);
      for (std::size_t r = 0; r < least(t - j, 16); ++r)
        S::store(scores + (j + r) * 16, S::add(S::load(scores + (j + r) * 16), S::as_f32(v[r])));
    }
  }

  /// The scores of 16 queries to exp(score - max) in place, as pairs if kPairs<kRounded>. Returns their sums.
  template <bool kRounded>
  static F32 softmax(float* scores, std::size_t tokens) noexcept {
    F32 most[kChains], sum[kChains];
    for (auto& m : most) m = S::set1(-3.0e38f);
    for (auto& s : sum) s = S::set1(0.0f);
    std::size_t j = 0;
    for (; j + kChains <= tokens; j += kChains)
#pragma GCC unroll 4
      for (std::size_t c = 0; c < kChains; ++c) most[c] = S::max(most[c], S::load(scores + (j + c) * 16));
    for (; j < tokens; ++j) most[0] = S::max(most[0], S::load(scores + j * 16));
    const F32 max = S::max(S::max(most[0], most[1]), S::max(most[2], most[3]));
    const auto weight = [=](std::size_t key) QEFF_INLINE_LAMBDA { return Math<S>::exp(S::sub(S::load(scores + key * 16), max)); };
    const auto two = [&](std::size_t key, F32& even, F32& odd) QEFF_INLINE_LAMBDA {
      const F32 a = weight(key), b = key + 1 < tokens ? weight(key + 1) : S::set1(0.0f);
      even = S::add(even, a), odd = S::add(odd, b);
      if constexpr (kPairs<kRounded>) {
        S::store_pair(reinterpret_cast<std::byte*>(scores + key * 8), S::round_pairs(a, b));
      } else {
        S::store(scores + key * 16, taken<kRounded>(a));
        S::store(scores + key * 16 + 16, taken<kRounded>(b));
      }
    };
    for (j = 0; j + 4 <= tokens; j += 4) two(j, sum[0], sum[1]), two(j + 2, sum[2], sum[3]);
    for (; j < tokens; j += 2) two(j, sum[0], sum[1]);
    return S::add(S::add(sum[0], sum[1]), S::add(sum[2], sum[3]));
  }

  /// out of queries [first, first + 16) = their weights by the values, times `inverse`.
  template <bool kRounded>
  static void weigh(const AttentionArgs& args, std::size_t first, const float* weights, const float* values,
                    const float* inverse) noexcept {
    const std::size_t t = args.tokens, d = args.head_dim, count = least(t - first, 16), most = even_rows(count, kRows);
    const std::size_t pitch = 16 * (kPairs<kRounded> ? padded(t, 2) / 2 : t);
    for (std::size_t c = 0; c < d; c += kColumns) {
      const std::size_t panels = (least(d - c, kColumns) + 15) / 16;
      const float* b = values + c / 16 * pitch;
      for (std::size_t i = 0; i < count; i += most) {
        const auto take = [&](std::size_t p, std::size_t r, F32 sum) QEFF_INLINE_LAMBDA {
          store_row(args, first + i + r, c + p * 16, S::mul(sum, S::set1(inverse[i + r])));
        };
        if constexpr (kPairs<kRounded>)
          Tile::template bf16<true>(reinterpret_cast<const std::uint16_t*>(weights + i), 32,
                                    reinterpret_cast<const std::byte*>(b), pitch * sizeof(float), panels, padded(t, 2),
                                    least(count - i, most), take);
        else
          Tile::template f32<true>(weights + i, 16, b, 16, pitch, panels, t, least(count - i, most), take);
      }
    }
  }

  QEFF_INLINE static void store_row(const AttentionArgs& args, std::size_t row, std::size_t column, F32 v) noexcept {
    store_lanes<S>(args.out + row * args.out_stride + column, v, args.head_dim - column);
  }
};

}  // namespace qeff::kernels
