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
#include <type_traits>

#include "kernels/bodies/cache_lines.inl.hpp"
#include "kernels/bodies/math.inl.hpp"
#include "kernels/bodies/tile.inl.hpp"
#include "qeff/core/macros.hpp"
#include "qeff/kernels/table.hpp"

namespace qeff::kernels {

template <class S>
class CachedAttention {
  using F32 = typename S::F32;
  using Args = CachedAttentionArgs;
  using Tile = VectorTile<S>;

  static constexpr std::size_t kKeys = 64;                      // of a block
  static constexpr std::size_t kRows = Tile::kRows;             // of a register tile
  static constexpr std::size_t kPanels = Tile::kPanels;
  static constexpr std::size_t kBlockRows = 8 * kRows;          // that share the converted keys
  static constexpr std::size_t kConvertRows = 2 * kRows;        // from here on conversion pays
  static constexpr std::size_t kStates = (kBlockRows + 15) / 16 * 16;
  static constexpr float kMasked = -3.0e38f;

  QEFF_INLINE static std::size_t padded(std::size_t n) noexcept { return (n + 15) / 16 * 16; }

  static_assert(kAttentionSegment % kKeys == 0);

  /// Whether cached lines are multiplied as they are, by queries and weights rounded to bf16.
  template <class Lines>
  static constexpr bool kPairs = S::kBf16 && std::is_same_v<Lines, Bf16Lines<S>>;

  /// Sums of a row: values, then the maximum they are relative to and the total of the weights (0: no key yet).
  QEFF_INLINE static float& most(float* sums, std::size_t head_dim) noexcept { return sums[padded(head_dim)]; }
  QEFF_INLINE static float& total(float* sums, std::size_t head_dim) noexcept { return sums[padded(head_dim) + 1]; }

  /// Where things lie in the scratch.
  struct Work {
    float *q, *scores, *lines, *first, *next;  // the last two: sums of the rows, of all segments so far and of one
    float *most, *totals, *factors;            // of the rows in the segment at hand; factors: what earlier sums become
    float* sums = nullptr;                     // of the segment at hand
    std::size_t stride;                        // of sums

    Work(std::size_t head_dim, float* scratch) noexcept {
      stride = attention_sums(head_dim);
      q = scratch;
      scores = q + kBlockRows * padded(head_dim);
      lines = scores + kBlockRows * kKeys;
      first = lines + line_floats(head_dim);
      next = first + kBlockRows * stride;
      most = next + kBlockRows * stride;
      totals = most + kStates;
      factors = totals + kStates;
    }
  };

  /// Floats of the panels of one tile, of keys or of values.
  QEFF_INLINE static std::size_t line_floats(std::size_t head_dim) noexcept {
    return kPanels * 16 * (kKeys > padded(head_dim) ? kKeys : padded(head_dim));
  }

 public:
  static std::size_t scratch(std::size_t head_dim) noexcept {
    return kBlockRows * (padded(head_dim) + kKeys + 2 * attention_sums(head_dim)) + line_floats(head_dim) + 3 * kStates;
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
    gather_queries<kPairs<Lines>>(args, work, row, rows);
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
    for (std::size_t i = 0; i < rows * work.stride; i += 16) S::store(work.sums + i, S::set1(0.0f));
    for (std::size_t r = 0; r < kStates; r += 16) {
      S::store(work.most + r, S::set1(kMasked));
      S::store(work.totals + r, S::set1(0.0f));
    }
    const std::size_t from = s * kAttentionSegment, to = from + kAttentionSegment < end ? from + kAttentionSegment : end;
    for (std::size_t j = (begin > from ? begin : from) / kKeys * kKeys; j < to; j += kKeys) {
      const std::size_t keys = to - j < kKeys ? to - j : kKeys;
      score<Lines>(args, work, rows, j, keys);
      weigh<kPairs<Lines>>(args, work, row, rows, j);
      add_values<Lines>(args, work, rows, j, keys);
    }
    for (std::size_t r = 0; r < rows; ++r) {
      float* const sums = work.sums + r * work.stride;
      most(sums, args.head_dim) = work.most[r], total(sums, args.head_dim) = work.totals[r];
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

  /// Queries times the scale, padded with zeros: floats or bf16.
  template <bool kAsPairs>
  static void gather_queries(const Args& args, Work& work, std::size_t row, std::size_t rows) noexcept {
    const std::size_t d = args.head_dim;
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t i = row + r;
      const float* from = args.q + i / args.heads * args.q_stride + i % args.heads * d;
      for (std::size_t k = 0; k < d; k += 16) {
        const F32 v = S::mul(d - k < 16 ? S::load_part(from + k, d - k) : S::load(from + k), S::set1(args.scale));
        if constexpr (kAsPairs)
          S::store_bf16(reinterpret_cast<std::uint16_t*>(work.q) + r * padded(d) + k, v);
        else
          S::store(work.q + r * padded(d) + k, v);
      }
    }
  }

  /// take(panel, r, sums): kR rows a times one panel of lines.
  template <class Lines, int kR, class Take>
  static void multiply(const float* a, std::size_t a_stride, const std::byte* lines, std::size_t steps,
                       std::size_t panel, const Take& take) noexcept {
    F32 sums[kR];
    for (auto& sum : sums) sum = S::set1(0.0f);
    for (std::size_t i = 0; i < steps; i += Lines::kSteps, lines += kCacheLine) {
      F32 w[Lines::kSteps];
      Lines::load(lines, w);
#pragma GCC unroll 8
      for (std::size_t k = 0; k < Lines::kSteps; ++k)
#pragma GCC unroll 16
        for (int r = 0; r < kR; ++r)
          sums[r] = S::fma(S::set1(a[static_cast<std::size_t>(r) * a_stride + i + k]), w[k], sums[r]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kR; ++r) take(panel, static_cast<std::size_t>(r), sums[r]);
  }

  /// Of a tile at row r and panel p, what Take takes.
  template <class Take>
  struct From {
    const Take& take;
    std::size_t p, r;
    QEFF_INLINE void operator()(std::size_t i, std::size_t j, F32 sums) const noexcept { take(p + i, r + j, sums); }
  };

  /// take(panel, r, sums): rows a by `panels` panels of lines, `pitch` bytes apart.
  template <class Lines, class Take>
  static void multiply_rows(Work& work, std::size_t rows, const float* a, std::size_t a_stride, const std::byte* lines,
                            std::size_t pitch, std::size_t panels, std::size_t steps, const Take& take) noexcept {
    constexpr bool kConverts = Lines::kSteps > 1 && !kPairs<Lines>;
    [[maybe_unused]] const bool in_registers = rows < kConvertRows;
    for (std::size_t p = 0; p < panels; p += kPanels, lines += kPanels * pitch) {
      const std::size_t n = panels - p < kPanels ? panels - p : kPanels;
      [[maybe_unused]] const auto* floats = reinterpret_cast<const float*>(lines);
      [[maybe_unused]] std::size_t float_pitch = pitch / sizeof(float);
      if constexpr (kConverts) {
        if (!in_registers) to_floats<Lines>(lines, pitch, n, steps, work.lines);
        floats = work.lines, float_pitch = steps * 16;
      }
      for (std::size_t r = 0; r < rows; r += kRows) {
        const std::size_t count = rows - r < kRows ? rows - r : kRows;
        const From<Take> give{take, p, r};
        if constexpr (kPairs<Lines>) {
          Tile::bf16(reinterpret_cast<const std::uint16_t*>(a) + r * a_stride, a_stride, lines, pitch, n, steps, count, give);
        } else {
          if constexpr (kConverts) {
            if (in_registers) {
              by_rows<kRows>(count, [&]<int kR>() QEFF_INLINE_LAMBDA {
                for (std::size_t i = 0; i < n; ++i)
                  multiply<Lines, kR>(a + r * a_stride, a_stride, lines + i * pitch, steps, i, give);
              });
              continue;
            }
          }
          Tile::f32(a + r * a_stride, a_stride, floats, 16, float_pitch, n, steps, count, give);
        }
      }
    }
  }

  /// n panels of lines to floats: out[panel][steps][16].
  template <class Lines>
  static void to_floats(const std::byte* lines, std::size_t pitch, std::size_t n, std::size_t steps, float* out) noexcept {
    for (std::size_t p = 0; p < n; ++p)
      for (std::size_t i = 0; i < steps; i += Lines::kSteps) {
        F32 w[Lines::kSteps];
        Lines::load(lines + p * pitch + i / Lines::kSteps * kCacheLine, w);
        for (std::size_t k = 0; k < Lines::kSteps; ++k) S::store(out + (p * steps + i + k) * 16, w[k]);
      }
  }

  template <class Lines>
  static void score(const Args& args, Work& work, std::size_t rows, std::size_t j, std::size_t keys) noexcept {
    const std::size_t steps = (args.head_dim + Lines::kSteps - 1) / Lines::kSteps * Lines::kSteps;
    const std::size_t pitch = steps / Lines::kSteps * kCacheLine;
    multiply_rows<Lines>(work, rows, work.q, padded(args.head_dim), args.keys + j / 16 * pitch, pitch, (keys + 15) / 16,
                         steps, [&](std::size_t p, std::size_t r, F32 sums) QEFF_INLINE_LAMBDA {
                           S::store(work.scores + r * kKeys + p * 16, sums);
                         });
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

  /// Keys of a block that a row sees.
  struct Seen {
    std::size_t begin, end;

    Seen(const Args& args, std::size_t row, std::size_t j) noexcept {
      const std::size_t at = position(args, row), from = first_key(args, at);
      begin = from <= j ? 0 : from - j < kKeys ? from - j : kKeys;
      end = at < j ? 0 : at + 1 - j < kKeys ? at + 1 - j : kKeys;
    }
    QEFF_INLINE bool all() const noexcept { return end - begin == kKeys; }
    /// Sets the scores of the others.
    QEFF_INLINE void mask(float* s, float value) const noexcept {
      for (std::size_t i = 0; i < kKeys; ++i)
        if (i < begin || i >= end) s[i] = value;
    }
  };

  /// Scores to weights exp(score - maximum), times the value scales; in bf16 at the start of a row if kAsPairs.
  template <bool kAsPairs>
  static void weigh(const Args& args, Work& work, std::size_t row, std::size_t rows, std::size_t j) noexcept {
    float* const before = work.factors;
    // What a row sees begins and ends between what the rows before and behind it see.
    const bool all_seen = Seen(args, row, j).all() && Seen(args, row + rows - 1, j).all();
    for (std::size_t r = 0; r < rows; ++r) {
      float* s = work.scores + r * kKeys;
      if (!all_seen) Seen(args, row + r, j).mask(s, kMasked);
      F32 highest = S::load(s);
      for (std::size_t i = 16; i < kKeys; i += 16) highest = S::max(S::load(s + i), highest);
      const float block_most = S::max_lane(highest);
      before[r] = work.most[r];
      if (!(block_most < work.most[r])) work.most[r] = block_most;  // NaN goes on: it is not less than anything
    }
    for (std::size_t r = 0; r < rows; r += 16)
      S::store(work.factors + r, Math<S>::exp(S::sub(S::load(before + r), S::load(work.most + r))));
    for (std::size_t r = 0; r < rows; ++r) {
      float* s = work.scores + r * kKeys;
      const F32 shift = S::set1(work.most[r]);
      F32 e[kKeys / 16], sum = S::set1(0.0f);
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kKeys / 16; ++i) e[i] = Math<S>::exp(S::sub(S::load(s + i * 16), shift));
      if (!all_seen) {
        for (std::size_t i = 0; i < kKeys / 16; ++i) S::store(s + i * 16, e[i]);
        Seen(args, row + r, j).mask(s, 0.0f);
        for (std::size_t i = 0; i < kKeys / 16; ++i) e[i] = S::load(s + i * 16);
      }
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kKeys / 16; ++i) {
        sum = S::add(sum, e[i]);
        if constexpr (kAsPairs) {
          S::store_bf16(reinterpret_cast<std::uint16_t*>(s) + i * 16, e[i]);
        } else {
          if (args.value_scales != nullptr) e[i] = S::mul(e[i], S::load(args.value_scales + j + i * 16));
          S::store(s + i * 16, e[i]);
        }
      }
      work.totals[r] = work.totals[r] * work.factors[r] + S::sum(sum);
    }
  }

  template <class Lines>
  static void add_values(const Args& args, Work& work, std::size_t rows, std::size_t j, std::size_t keys) noexcept {
    const std::size_t steps = (keys + Lines::kSteps - 1) / Lines::kSteps * Lines::kSteps;
    multiply_rows<Lines>(work, rows, work.scores, kPairs<Lines> ? 2 * kKeys : kKeys,
                         args.values + j / Lines::kSteps * kCacheLine, args.value_pitch, (args.head_dim + 15) / 16,
                         steps, [&](std::size_t p, std::size_t r, F32 sums) QEFF_INLINE_LAMBDA {
                           float* to = work.sums + r * work.stride + p * 16;
                           S::store(to, S::fma(S::load(to), S::set1(work.factors[r]), sums));
                         });
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
