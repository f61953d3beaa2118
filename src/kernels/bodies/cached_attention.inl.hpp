/// @file
/// Causal attention of new tokens over cached keys and values: blocks of keys with a running
/// maximum. See KernelTable::cached_attention.
///
/// Source: T. Dao et al., "FlashAttention", 2022, algorithm 1 (forward, one pass over the keys).
/// Blocks start at fixed positions, sums are chains in ascending order within a segment of keys, and
/// segments are joined in ascending order ("Flash-Decoding", 2023), so a row gets the same bytes whatever
/// rows are computed beside it and however the segments are spread over calls.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/math.inl.hpp"
#include "kernels/bodies/tile.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

/// Steps of a cache line of 16 columns as floats: kSteps reduction indices each.
template <class S>
struct FloatLines {
  static constexpr std::size_t kSteps = 1;
  static constexpr std::size_t kBytes = 64;
  QEFF_INLINE static void load(const std::byte* p, typename S::F32 (&v)[1]) noexcept {
    v[0] = S::load(reinterpret_cast<const float*>(p));
  }
};
template <class S>
struct Bf16Lines {
  static constexpr std::size_t kSteps = 2;
  static constexpr std::size_t kBytes = 64;
  QEFF_INLINE static void load(const std::byte* p, typename S::F32 (&v)[2]) noexcept {
    const auto pairs = S::load(reinterpret_cast<const std::int32_t*>(p));
    v[0] = S::as_f32(S::template shl<16>(pairs));
    v[1] = S::as_f32(S::and_(pairs, S::set1(static_cast<std::int32_t>(0xffff0000))));
  }
};
template <class S>
struct Int8Lines {
  static constexpr std::size_t kSteps = 4;
  static constexpr std::size_t kBytes = 64;
  QEFF_INLINE static void load(const std::byte* p, typename S::F32 (&v)[4]) noexcept {
    const auto codes = S::load(reinterpret_cast<const std::int32_t*>(p));
    v[0] = S::to_f32(S::template sar<24>(S::template shl<24>(codes)));
    v[1] = S::to_f32(S::template sar<24>(S::template shl<16>(codes)));
    v[2] = S::to_f32(S::template sar<24>(S::template shl<8>(codes)));
    v[3] = S::to_f32(S::template sar<24>(codes));
  }
};

template <class S>
struct Int4Lines {
  static constexpr std::size_t kSteps = 8;
  static constexpr std::size_t kBytes = 64;
  QEFF_INLINE static void load(const std::byte* p, typename S::F32 (&v)[8]) noexcept {
    const auto codes = S::load(reinterpret_cast<const std::int32_t*>(p));
    v[0] = code<28>(codes), v[1] = code<24>(codes), v[2] = code<20>(codes), v[3] = code<16>(codes);
    v[4] = code<12>(codes), v[5] = code<8>(codes), v[6] = code<4>(codes);
    v[7] = S::to_f32(S::template sar<28>(codes));
  }

 private:
  template <int kUp>
  QEFF_INLINE static typename S::F32 code(typename S::I32 codes) noexcept {
    return S::to_f32(S::template sar<28>(S::template shl<kUp>(codes)));
  }
};

template <class S>
class CachedAttention {
  using F32 = typename S::F32;
  using Args = CachedAttentionArgs;

  static constexpr std::size_t kKeys = 64;                      // of a block
  static constexpr std::size_t kRows = S::kRows;                // of a register tile
  static constexpr std::size_t kBlockRows = 8 * kRows;          // that share the converted keys
  static constexpr std::size_t kConvertRows = 2 * kRows;        // from here on conversion pays
  static constexpr float kMasked = -3.0e38f;

  QEFF_INLINE static std::size_t padded(std::size_t n) noexcept { return (n + 15) / 16 * 16; }

  static_assert(kAttentionSegment % kKeys == 0);

  /// Sums of a row: values, then the maximum they are relative to and the total of the weights (0: no key yet).
  QEFF_INLINE static float& most(float* sums, std::size_t head_dim) noexcept { return sums[padded(head_dim)]; }
  QEFF_INLINE static float& total(float* sums, std::size_t head_dim) noexcept { return sums[padded(head_dim) + 1]; }

  /// Where things lie in the scratch.
  struct Work {
    float *q, *scores, *lines, *first, *next;  // the last two: sums of the rows, of all segments so far and of one
    float* sums = nullptr;                     // of the segment at hand
    std::size_t q_stride, stride;              // of q and of sums

    Work(std::size_t head_dim, float* scratch) noexcept {
      q_stride = (head_dim + 7) / 8 * 8;
      stride = attention_sums(head_dim);
      q = scratch;
      scores = q + kBlockRows * padded(head_dim);
      lines = scores + kBlockRows * kKeys;
      first = lines + kKeys * padded(head_dim);
      next = first + kBlockRows * stride;
    }
  };

 public:
  static std::size_t scratch(std::size_t head_dim) noexcept {
    return kBlockRows * (padded(head_dim) + kKeys + 2 * attention_sums(head_dim)) + kKeys * padded(head_dim);
  }

  static void run(const Args& args, float* scratch) noexcept {
    Work work(args.head_dim, scratch);
    const std::size_t rows = args.tokens * args.heads;
    for (std::size_t r = 0; r < rows; r += kBlockRows) {
      const std::size_t n = rows - r < kBlockRows ? rows - r : kBlockRows;
      switch (args.format) {
        case CachedAs::f32: block<FloatLines<S>>(args, work, r, n); break;
        case CachedAs::bf16: block<Bf16Lines<S>>(args, work, r, n); break;
        case CachedAs::int8: block<Int8Lines<S>>(args, work, r, n); break;
        case CachedAs::int4: block<Int4Lines<S>>(args, work, r, n); break;
      }
    }
  }

  static void join(const Args& args, std::size_t segments) noexcept {
    const std::size_t stride = attention_sums(args.head_dim), rows = args.tokens * args.heads;
    for (std::size_t r = 0; r < rows; ++r) {
      float* const all = args.sums + r * stride;
      for (std::size_t s = 1; s < segments; ++s) join_row(args.head_dim, all, args.sums + (s * rows + r) * stride);
      finish_row(args, all, r);
    }
  }

 private:
  /// Position of row r: rows are the heads of the first token, then those of the second, ...
  QEFF_INLINE static std::size_t position(const Args& args, std::size_t row) noexcept {
    return args.first + row / args.heads;
  }
  QEFF_INLINE static std::size_t first_key(const Args& args, std::size_t position) noexcept {
    return first_visible_key(args.window, position);
  }

  template <class Lines>
  static void block(const Args& args, Work& work, std::size_t row, std::size_t rows) noexcept {
    gather_queries(args, work, row, rows);
    const std::size_t begin = first_key(args, position(args, row)), end = position(args, row + rows - 1) + 1;
    if (args.sums != nullptr) {
      work.sums = args.sums + row * work.stride;
      return segment<Lines>(args, work, row, rows, args.segment, begin, end);
    }
    const std::size_t first = begin / kAttentionSegment;
    for (std::size_t s = first; s * kAttentionSegment < end; ++s) {
      work.sums = s == first ? work.first : work.next;
      segment<Lines>(args, work, row, rows, s, begin, end);
      if (s == first) continue;
      for (std::size_t r = 0; r < rows; ++r)
        join_row(args.head_dim, work.first + r * work.stride, work.next + r * work.stride);
    }
    for (std::size_t r = 0; r < rows; ++r) finish_row(args, work.first + r * work.stride, row + r);
  }

  /// work.sums over those of the keys [begin, end) that lie in segment `s`.
  template <class Lines>
  static void segment(const Args& args, Work& work, std::size_t row, std::size_t rows, std::size_t s, std::size_t begin,
                      std::size_t end) noexcept {
    for (std::size_t r = 0; r < rows; ++r) {
      float* const sums = work.sums + r * work.stride;
      for (std::size_t i = 0; i < work.stride; i += 16) S::store(sums + i, S::set1(0.0f));
      most(sums, args.head_dim) = kMasked;
    }
    const std::size_t from = s * kAttentionSegment, to = from + kAttentionSegment < end ? from + kAttentionSegment : end;
    for (std::size_t j = (begin > from ? begin : from) / kKeys * kKeys; j < to; j += kKeys) {
      const std::size_t keys = to - j < kKeys ? to - j : kKeys;
      score<Lines>(args, work, rows, j, keys);
      for (std::size_t r = 0; r < rows; ++r) weigh(args, work, row, r, j);
      add_values<Lines>(args, work, rows, j, keys);
    }
  }

  /// all = all and the keys of `more`.
  static void join_row(std::size_t d, float* all, float* more) noexcept {
    if (total(more, d) == 0.0f) return;
    const float before = most(all, d), after = most(more, d);
    const float now = after < before ? before : after;  // NaN goes on
    const F32 a = factor(before, now), b = factor(after, now);
    for (std::size_t i = 0; i < padded(d); i += 16)
      S::store(all + i, S::fma(S::load(all + i), a, S::mul(S::load(more + i), b)));
    alignas(64) float lanes[16];
    S::store(lanes, S::fma(S::set1(total(all, d)), a, S::mul(S::set1(total(more, d)), b)));
    total(all, d) = lanes[0], most(all, d) = now;
  }

  /// exp(from - to) in all lanes.
  QEFF_INLINE static F32 factor(float from, float to) noexcept { return Math<S>::exp(S::set1(from - to)); }

  static void gather_queries(const Args& args, Work& work, std::size_t row, std::size_t rows) noexcept {
    const std::size_t d = args.head_dim;
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t i = row + r;
      const float* from = args.q + i / args.heads * args.q_stride + i % args.heads * d;
      float* to = work.q + r * work.q_stride;
      for (std::size_t k = 0; k < d; ++k) to[k] = from[k] * args.scale;
      for (std::size_t k = d; k < work.q_stride; ++k) to[k] = 0.0f;
    }
  }

  /// c[r][16] (+)= a[r][steps] * lines, r < kR.
  template <class Lines, int kR, bool kAdd>
  static void multiply(const float* a, std::size_t a_stride, const std::byte* lines, std::size_t steps, float* c,
                       std::size_t c_stride) noexcept {
    F32 sums[kR];
    for (int r = 0; r < kR; ++r) sums[r] = kAdd ? S::load(c + static_cast<std::size_t>(r) * c_stride) : S::set1(0.0f);
    for (std::size_t i = 0; i < steps; i += Lines::kSteps, lines += Lines::kBytes) {
      F32 w[Lines::kSteps];
      Lines::load(lines, w);
#pragma GCC unroll 8
      for (std::size_t k = 0; k < Lines::kSteps; ++k)
#pragma GCC unroll 16
        for (int r = 0; r < kR; ++r)
          sums[r] = S::fma(S::set1(a[static_cast<std::size_t>(r) * a_stride + i + k]), w[k], sums[r]);
    }
    for (int r = 0; r < kR; ++r) S::store(c + static_cast<std::size_t>(r) * c_stride, sums[r]);
  }

  /// All rows by one panel of lines; with many rows the lines are turned into floats first.
  template <class Lines, bool kAdd>
  static void multiply_rows(Work& work, std::size_t rows, const float* a, std::size_t a_stride, const std::byte* lines,
                            std::size_t steps, float* c, std::size_t c_stride) noexcept {
    const auto all = [&]<class From>(const std::byte* from) QEFF_INLINE_LAMBDA {
      for (std::size_t r = 0; r < rows; r += kRows)
        by_rows<kRows>(rows - r < kRows ? rows - r : kRows, [&]<int kR>() QEFF_INLINE_LAMBDA {
          multiply<From, kR, kAdd>(a + r * a_stride, a_stride, from, steps, c + r * c_stride, c_stride);
        });
    };
    if constexpr (Lines::kSteps > 1) {
      if (rows >= kConvertRows) {
        for (std::size_t i = 0; i < steps; i += Lines::kSteps) {
          F32 w[Lines::kSteps];
          Lines::load(lines + i / Lines::kSteps * Lines::kBytes, w);
          for (std::size_t k = 0; k < Lines::kSteps; ++k) S::store(work.lines + (i + k) * 16, w[k]);
        }
        all.template operator()<FloatLines<S>>(reinterpret_cast<const std::byte*>(work.lines));
        return;
      }
    }
    all.template operator()<Lines>(lines);
  }

  template <class Lines>
  static void score(const Args& args, Work& work, std::size_t rows, std::size_t j, std::size_t keys) noexcept {
    const std::size_t steps = (args.head_dim + Lines::kSteps - 1) / Lines::kSteps * Lines::kSteps;
    const std::size_t panel = steps / Lines::kSteps * Lines::kBytes;
    for (std::size_t i = 0; i < keys; i += 16)
      multiply_rows<Lines, false>(work, rows, work.q, work.q_stride, args.keys + (j + i) / 16 * panel, steps,
                                  work.scores + i, kKeys);
    if (args.key_scales == nullptr && args.softcap == 0.0f) return;
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t i = 0; i < keys; i += 16) {
        float* at = work.scores + r * kKeys + i;
        F32 s = S::load(at);
        if (args.key_scales != nullptr) s = S::mul(s, S::load(args.key_scales + j + i));
        if (args.softcap != 0.0f) s = capped(s, args.softcap);
        S::store(at, s);
      }
  }

  /// cap * tanh(s / cap), with tanh(u) = 2 sigmoid(2 u) - 1.
  QEFF_INLINE static F32 capped(F32 s, float cap) noexcept {
    const F32 t = Math<S>::sigmoid(S::mul(s, S::set1(2.0f / cap)));
    return S::mul(S::fma(t, S::set1(2.0f), S::set1(-1.0f)), S::set1(cap));
  }

  /// Scores of row r to weights exp(score - max), times the value scales; earlier sums are rescaled.
  static void weigh(const Args& args, Work& work, std::size_t row, std::size_t r, std::size_t j) noexcept {
    float* s = work.scores + r * kKeys;
    const std::size_t at = position(args, row + r), from = first_key(args, at);
    const std::size_t begin = from <= j ? 0 : from - j < kKeys ? from - j : kKeys;
    const std::size_t end = at < j ? 0 : at + 1 - j < kKeys ? at + 1 - j : kKeys;
    if (begin >= end) {
      for (std::size_t i = 0; i < kKeys; i += 16) S::store(s + i, S::set1(0.0f));
      return;
    }
    for (std::size_t i = 0; i < begin; ++i) s[i] = kMasked;
    for (std::size_t i = end; i < kKeys; ++i) s[i] = kMasked;
    F32 highest = S::load(s);
    for (std::size_t i = 16; i < kKeys; i += 16) highest = S::max(S::load(s + i), highest);
    float* const sums = work.sums + r * work.stride;
    const float before = most(sums, args.head_dim), block_most = S::max_lane(highest);
    // NaN goes on: it is not less than anything.
    const float now = block_most < before ? before : block_most;
    const F32 shift = S::set1(now);
    F32 sum = S::set1(0.0f);
    for (std::size_t i = 0; i < kKeys; i += 16) S::store(s + i, Math<S>::exp(S::sub(S::load(s + i), shift)));
    for (std::size_t i = 0; i < begin; ++i) s[i] = 0.0f;
    for (std::size_t i = end; i < kKeys; ++i) s[i] = 0.0f;
    for (std::size_t i = 0; i < kKeys; i += 16) {
      const F32 e = S::load(s + i);
      sum = S::add(sum, e);
      if (args.value_scales != nullptr) S::store(s + i, S::mul(e, S::load(args.value_scales + j + i)));
    }
    rescale(sums, args.head_dim, before, now, S::sum(sum));
  }

  static void rescale(float* sums, std::size_t d, float before, float now, float sum) noexcept {
    most(sums, d) = now;
    if (before == now) {
      total(sums, d) += sum;
      return;
    }
    alignas(64) float lanes[16];
    const F32 less = factor(before, now);
    S::store(lanes, less);
    total(sums, d) = total(sums, d) * lanes[0] + sum;
    for (std::size_t i = 0; i < padded(d); i += 16) S::store(sums + i, S::mul(S::load(sums + i), less));
  }

  template <class Lines>
  static void add_values(const Args& args, Work& work, std::size_t rows, std::size_t j, std::size_t keys) noexcept {
    const std::size_t steps = (keys + Lines::kSteps - 1) / Lines::kSteps * Lines::kSteps;
    for (std::size_t c = 0; c < args.head_dim; c += 16)
      multiply_rows<Lines, true>(work, rows, work.scores, kKeys,
                                 args.values + c / 16 * args.value_pitch + j / Lines::kSteps * Lines::kBytes, steps,
                                 work.sums + c, work.stride);
  }

  /// Row i of out.
  static void finish_row(const Args& args, float* sums, std::size_t i) noexcept {
    const std::size_t d = args.head_dim;
    const F32 scale = S::set1(1.0f / total(sums, d));
    float* out = args.out + i / args.heads * args.out_stride + i % args.heads * d;
    for (std::size_t c = 0; c < d; c += 16) {
      const F32 v = S::mul(S::load(sums + c), scale);
      if (d - c >= 16)
        S::store(out + c, v);
      else
        S::store_part(out + c, v, d - c);
    }
  }
};

}  // namespace qeff::kernels
