/// @file
/// Register tiles: up to kRows rows of activations times the 16 columns of each of kPanels panels. The innermost
/// loops of everything, written once over the policy.
///
/// A row's sum of floats is one chain over the reduction index in ascending order, whatever the number of rows and
/// panels in the tile: results do not depend on how they are grouped.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qeff/core/macros.hpp"

namespace qeff::kernels {

/// Up to so many rows, products wait for weights and not for each other.
inline constexpr int kStreamingRows = 4;

/// Up to so many rows, panels pass through the caches faster than anything but a request brings them.
inline constexpr std::size_t kPrefetchRows = 64;

/// How far ahead of where they read, streams of weights ask for them: a page.
inline constexpr std::size_t kAhead = 4096;

QEFF_INLINE constexpr std::size_t least(std::size_t a, std::size_t b) noexcept { return a < b ? a : b; }

/// From offset `at` of a panel of `pitch` bytes to what comes kAhead bytes later where `panels` panels are read side
/// by side: in the same panel, or in the one so many further on.
QEFF_INLINE std::size_t ahead(std::size_t at, std::size_t pitch, std::size_t panels) noexcept {
  return at + kAhead < pitch ? kAhead : kAhead + (panels - 1) * pitch;
}

QEFF_INLINE void prefetch(const std::byte* p, std::size_t distance = kAhead) noexcept { __builtin_prefetch(p + distance); }

/// Asks for a stretch of memory a few lines at a time, while something else is computed. It comes to the second-level
/// cache.
class Request {
 public:
  /// Of `bytes` at `from`, in `times` times.
  QEFF_INLINE Request(const std::byte* from, std::size_t bytes, std::size_t times) noexcept
      : left_(bytes), step_((bytes / times + 63) / 64 * 64), at_(from) {}

  QEFF_INLINE void go_on() noexcept {
    const std::size_t n = least(left_, step_);
    for (std::size_t i = 0; i < n; i += 64) __builtin_prefetch(at_ + i, 0, 2);
    at_ += n, left_ -= n;
  }

 private:
  std::size_t left_, step_;
  const std::byte* at_;
};

/// Calls f.operator()<rows>(). @pre 1 <= rows <= kMost
template <int kMost, class F>
QEFF_INLINE void by_rows(std::size_t rows, F&& f) noexcept {
  if constexpr (kMost > 1) {
    if (rows != kMost) return by_rows<kMost - 1>(rows, f);
  }
  f.template operator()<kMost>();
}

/// Calls f.operator()<rows, panels>(). @pre 1 <= rows <= kMost, 1 <= panels <= kMostPanels <= 2
template <int kMost, int kMostPanels, class F>
QEFF_INLINE void by_tile(std::size_t rows, std::size_t panels, F&& f) noexcept {
  if constexpr (kMostPanels == 2) {
    if (panels == 2) return by_rows<kMost>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { f.template operator()<kR, 2>(); });
  }
  by_rows<kMost>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { f.template operator()<kR, 1>(); });
}

/// Rows of each register tile but the last, if `rows` rows take tiles of at most `most`: about as many in all, because
/// products of few rows wait for each other.
QEFF_INLINE constexpr std::size_t even_rows(std::size_t rows, std::size_t most) noexcept {
  const std::size_t tiles = (rows + most - 1) / most;
  return (rows + tiles - 1) / tiles;
}

/// How many sums of integers stand for one of `sums` in a register tile, 4 at most: with few, products would wait for
/// each other. Integers may be added in any order.
template <class S>
QEFF_INLINE constexpr int chains(int sums) noexcept {
  constexpr int kWanted = S::kDotRows * S::kPanels < 8 ? 4 : 8;
  return kWanted / sums >= 4 ? 4 : kWanted / sums >= 2 ? 2 : 1;
}

/// kPrefetch: products of bytes ask for the weights they read next.
template <class S, bool kPrefetch = false>
struct VectorTile {
  static constexpr std::size_t kRows = S::kRows;        ///< Most rows of one call to f32 and bf16.
  static constexpr std::size_t kDotRows = S::kDotRows;  ///< Most rows of one call to int8.
  static constexpr std::size_t kPanels = S::kPanels;    ///< Most panels of one call.
  using Act = typename S::ActI8;
  static constexpr std::size_t kLineBytes = 64;  ///< Of a line of signed codes, as int8 takes them.

  /// take(panel, r, sums of 16 columns over `lines` lines of a[r] * b[panel], int32) for all rows and panels.
  /// a_stride: elements from one row to the next; b_pitch: bytes from one panel to the next (unused with one panel).
  template <class Take>
  QEFF_INLINE static void int8(const typename S::ActI8* a, std::size_t a_stride, const std::byte* b,
                               std::size_t b_pitch, std::size_t panels, std::size_t lines, std::size_t rows,
                               const Take& take) noexcept {
    by_tile<kDotRows, kPanels>(rows, panels, [&]<int kR, int kP>() QEFF_INLINE_LAMBDA {
      int8_rows<kR, kP>(a, a_stride, b, b_pitch, lines, take);
    });
  }

  /// take(panel, r, sum over k of a[r][k] * b[panel][k][16]); b_stride: floats from one k to the next. kColumns: a is
  /// [k][r], and a_stride from one k to the next.
  template <bool kColumns = false, class Take>
  QEFF_INLINE static void f32(const float* a, std::size_t a_stride, const float* b, std::size_t b_stride,
                              std::size_t b_pitch, std::size_t panels, std::size_t k, std::size_t rows,
                              const Take& take) noexcept {
    by_tile<kRows, kPanels>(rows, panels, [&]<int kR, int kP>() QEFF_INLINE_LAMBDA {
      f32_rows<kR, kP, kColumns>(a, a_stride, b, b_stride, b_pitch, k, take);
    });
  }

  /// The same with bf16 pairs: a[r]: bf16 values, b[panel]: [k / 2][16][2]. kColumns: a is [k / 2][r][2].
  template <bool kColumns = false, class Take>
  QEFF_INLINE static void bf16(const std::uint16_t* a, std::size_t a_stride, const std::byte* b,
                               std::size_t b_pitch, std::size_t panels, std::size_t k, std::size_t rows,
                               const Take& take) noexcept {
    by_tile<kRows, kPanels>(rows, panels, [&]<int kR, int kP>() QEFF_INLINE_LAMBDA {
      bf16_rows<kR, kP, kColumns>(a, a_stride, b, b_pitch, k, take);
    });
  }

 private:
  template <int kR, int kP, class Take>
  static void int8_rows(const typename S::ActI8* a, std::size_t a_stride, const std::byte* b, std::size_t b_pitch,
                        std::size_t lines, const Take take) noexcept {
    constexpr int kChains = chains<S>(kR * kP);
    typename S::I32 sums[kChains][kP][kR];
    for (auto& chain : sums)
      for (auto& panel : chain)
        for (auto& s : panel) s = S::set1(std::int32_t{0});
    const auto line = [&](auto& into, std::size_t l) QEFF_INLINE_LAMBDA {
      typename S::Bytes codes[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) {
        const std::byte* from = b + static_cast<std::size_t>(p) * b_pitch + l * 64;
        if constexpr (kPrefetch) prefetch(from, ahead(l * kLineBytes, b_pitch, kP));
        codes[p] = S::load_codes(from);
      }
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const auto x = S::load_act(a + static_cast<std::size_t>(r) * a_stride + l * 4);
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p) into[p][r] = S::dot(into[p][r], x, codes[p]);
      }
    };
    std::size_t l = 0;
    for (; l + kChains <= lines; l += kChains)
#pragma GCC unroll 4
      for (int i = 0; i < kChains; ++i) line(sums[i], l + static_cast<std::size_t>(i));
    for (; l < lines; ++l) line(sums[0], l);
#pragma GCC unroll 4
    for (int i = 1; i < kChains; ++i)
      for (int p = 0; p < kP; ++p)
        for (int r = 0; r < kR; ++r) sums[0][p][r] = S::add(sums[0][p][r], sums[i][p][r]);
    give(sums[0], take);
  }

  template <int kP, int kR, class Sum, class Take>
  QEFF_INLINE static void give(const Sum (&sums)[kP][kR], const Take& take) noexcept {
#pragma GCC unroll 16
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) take(static_cast<std::size_t>(p), static_cast<std::size_t>(r), sums[p][r]);
  }

  template <int kR, int kP, bool kColumns, class Take>
  static void f32_rows(const float* a, std::size_t a_stride, const float* b, std::size_t b_stride, std::size_t b_pitch,
                       std::size_t k, const Take take) noexcept {
    typename S::F32 sums[kP][kR];
    for (auto& panel : sums)
      for (auto& s : panel) s = S::set1(0.0f);
    for (std::size_t i = 0; i < k; ++i) {
      typename S::F32 w[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) w[p] = S::load(b + static_cast<std::size_t>(p) * b_pitch + i * b_stride);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const auto row = static_cast<std::size_t>(r);
        const auto x = S::set1(kColumns ? a[i * a_stride + row] : a[row * a_stride + i]);
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p) sums[p][r] = S::fma(x, w[p], sums[p][r]);
      }
    }
    give(sums, take);
  }

  template <int kR, int kP, bool kColumns, class Take>
  static void bf16_rows(const std::uint16_t* a, std::size_t a_stride, const std::byte* b, std::size_t b_pitch,
                        std::size_t k, const Take take) noexcept {
    typename S::F32 sums[kP][kR];
    for (auto& panel : sums)
      for (auto& s : panel) s = S::set1(0.0f);
    for (std::size_t i = 0; i < k; i += 2) {
      typename S::Pair w[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) w[p] = S::load_pair(b + static_cast<std::size_t>(p) * b_pitch + i * 32);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const auto row = static_cast<std::size_t>(r);
        const auto x = S::broadcast_pair(kColumns ? a + i / 2 * a_stride + 2 * row : a + row * a_stride + i);
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p) sums[p][r] = S::dot_bf16(sums[p][r], x, w[p]);
      }
    }
    give(sums, take);
  }
};

/// Takes the sums of a tile to c[panel][rows][16].
template <class S, class Sum>
struct StoreSums {
  Sum* c;
  std::size_t rows;
  template <class V>
  QEFF_INLINE void operator()(std::size_t p, std::size_t r, V sums) const noexcept {
    S::store(c + (p * rows + r) * 16, sums);
  }
};

/// The tile of a policy: its own if it has one (AMX, i8mm), else vectors.
template <class S>
struct TileOf {
  using type = VectorTile<S>;
};
template <class S>
  requires requires { typename S::Tile; }
struct TileOf<S> {
  using type = typename S::Tile;
};

}  // namespace qeff::kernels
