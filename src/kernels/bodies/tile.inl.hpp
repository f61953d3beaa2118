/// @file
/// Register tiles: up to kRows rows of activations times the 16 columns of a panel. The innermost loops
/// of everything, written once over the policy.
///
/// A row's sum is one chain over the reduction index in ascending order, whatever the number of rows
/// in the tile: results do not depend on how rows are grouped.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qeff/core/macros.hpp"

namespace qeff::kernels {

/// Up to so many rows, products wait for weights and not for each other.
inline constexpr int kStreamingRows = 4;

/// Asks for what will be read a page after p. A packed panel lies in one piece, the next one after it.
QEFF_INLINE void prefetch(const std::byte* p) noexcept { __builtin_prefetch(p + 4096); }

/// Calls f.operator()<rows>(). @pre 1 <= rows <= kMost
template <int kMost, class F>
QEFF_INLINE void by_rows(std::size_t rows, F&& f) noexcept {
  if constexpr (kMost > 1) {
    if (rows != kMost) return by_rows<kMost - 1>(rows, f);
  }
  f.template operator()<kMost>();
}

template <class S>
struct VectorTile {
  static constexpr std::size_t kRows = S::kRows;        ///< Most rows of one call to f32 and bf16.
  static constexpr std::size_t kDotRows = S::kDotRows;  ///< Most rows of one call to int8.
  static constexpr std::size_t kPanels = 1;             ///< Panels of one call.
  using Act = typename S::ActI8;
  static constexpr std::size_t kLineBytes = 64;  ///< Of a line of signed codes, as int8 takes them.

  /// c[panel][kDotRows][16] = sum over `lines` lines of a[r] * b[panel], int32. a_stride: elements from
  /// one row to the next; b_pitch: bytes from one panel to the next (unused with one panel).
  QEFF_INLINE static void int8(const typename S::ActI8* a, std::size_t a_stride, const std::byte* b,
                               std::size_t /*b_pitch*/, std::size_t /*panels*/, std::size_t lines,
                               std::size_t rows, std::int32_t* c) noexcept {
    by_rows<kDotRows>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { int8_rows<kR>(a, a_stride, b, lines, c); });
  }

  /// c[r][16] = sum over k of a[r][k] * b[k][16]; b_stride: floats from one k to the next.
  QEFF_INLINE static void f32(const float* a, std::size_t a_stride, const float* b, std::size_t b_stride,
                              std::size_t k, std::size_t rows, float* c) noexcept {
    by_rows<kRows>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { f32_rows<kR>(a, a_stride, b, b_stride, k, c); });
  }

  /// c[panel][kRows][16] with bf16 pairs: a[r]: bf16 values, b[panel]: [k / 2][16][2].
  QEFF_INLINE static void bf16(const std::uint16_t* a, std::size_t a_stride, const std::byte* b,
                               std::size_t /*b_pitch*/, std::size_t /*panels*/, std::size_t k,
                               std::size_t rows, float* c) noexcept {
    by_rows<kRows>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { bf16_rows<kR>(a, a_stride, b, k, c); });
  }

 private:
  template <int kR>
  static void int8_rows(const typename S::ActI8* a, std::size_t a_stride, const std::byte* b,
                        std::size_t lines, std::int32_t* c) noexcept {
    typename S::I32 sums[kR];
    for (auto& s : sums) s = S::set1(std::int32_t{0});
    for (std::size_t l = 0; l < lines; ++l) {
      if constexpr (kR <= kStreamingRows) prefetch(b + l * 64);
      const auto codes = S::load_bytes(b + l * 64);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r)
        sums[r] = S::dot(sums[r], S::load_act(a + static_cast<std::size_t>(r) * a_stride + l * 4), codes);
    }
    for (int r = 0; r < kR; ++r) S::store(c + r * 16, sums[r]);
  }

  template <int kR>
  static void f32_rows(const float* a, std::size_t a_stride, const float* b, std::size_t b_stride,
                       std::size_t k, float* c) noexcept {
    typename S::F32 sums[kR];
    for (auto& s : sums) s = S::set1(0.0f);
    for (std::size_t i = 0; i < k; ++i) {
      const auto w = S::load(b + i * b_stride);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r)
        sums[r] = S::fma(S::set1(a[static_cast<std::size_t>(r) * a_stride + i]), w, sums[r]);
    }
    for (int r = 0; r < kR; ++r) S::store(c + r * 16, sums[r]);
  }

  template <int kR>
  static void bf16_rows(const std::uint16_t* a, std::size_t a_stride, const std::byte* b, std::size_t k,
                        float* c) noexcept {
    typename S::F32 sums[kR];
    for (auto& s : sums) s = S::set1(0.0f);
    for (std::size_t i = 0; i < k; i += 2) {
      const auto w = S::load_pair(b + i * 32);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r)
        sums[r] = S::dot_bf16(sums[r], S::broadcast_pair(a + static_cast<std::size_t>(r) * a_stride + i), w);
    }
    for (int r = 0; r < kR; ++r) S::store(c + r * 16, sums[r]);
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
