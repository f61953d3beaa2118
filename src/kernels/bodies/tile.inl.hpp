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

template <class S>
struct VectorTile {
  static constexpr std::size_t kRows = S::kRows;  ///< Most rows of one call.
  static constexpr std::size_t kPanels = 1;       ///< Panels of one call.

  /// c[panel][kRows][16] = sum over `lines` lines of a[r] * b[panel], int32. a_stride: elements from
  /// one row to the next; b_pitch: bytes from one panel to the next (unused with one panel).
  /// kPacked: b is in packed form, else in the form S::load_step reads.
  template <bool kPacked>
  QEFF_INLINE static void int8(const typename S::ActI8* a, std::size_t a_stride, const std::byte* b,
                               std::size_t /*b_pitch*/, std::size_t /*panels*/, std::size_t lines,
                               std::size_t rows, std::int32_t* c) noexcept {
    dispatch<kRows>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { int8_rows<kR, kPacked>(a, a_stride, b, lines, c); });
  }

  /// c[r][16] = sum over k of a[r][k] * b[k][16]; b_stride: floats from one k to the next.
  QEFF_INLINE static void f32(const float* a, std::size_t a_stride, const float* b, std::size_t b_stride,
                              std::size_t k, std::size_t rows, float* c) noexcept {
    dispatch<kRows>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { f32_rows<kR>(a, a_stride, b, b_stride, k, c); });
  }

  /// c[panel][kRows][16] with bf16 pairs: a[r]: bf16 values, b[panel]: [k / 2][16][2].
  QEFF_INLINE static void bf16(const std::uint16_t* a, std::size_t a_stride, const std::byte* b,
                               std::size_t /*b_pitch*/, std::size_t /*panels*/, std::size_t k,
                               std::size_t rows, float* c) noexcept {
    dispatch<kRows>(rows, [&]<int kR>() QEFF_INLINE_LAMBDA { bf16_rows<kR>(a, a_stride, b, k, c); });
  }

 private:
  /// Calls f.operator()<rows>().
  template <int kMost, class F>
  QEFF_INLINE static void dispatch(std::size_t rows, F&& f) noexcept {
    if constexpr (kMost > 1) {
      if (rows != kMost) return dispatch<kMost - 1>(rows, f);
    }
    f.template operator()<kMost>();
  }

  template <int kR, bool kPacked>
  static void int8_rows(const typename S::ActI8* a, std::size_t a_stride, const std::byte* b,
                        std::size_t lines, std::int32_t* c) noexcept {
    typename S::I32 sums[kR];
    for (auto& s : sums) s = S::set1(std::int32_t{0});
    // One step an iteration: given two, GCC adds their products first and spills the sums.
    constexpr std::size_t kActs = 4 / S::kSteps;
    const std::size_t steps = kPacked ? lines : lines * S::kSteps;
    for (std::size_t i = 0; i < steps; ++i) {
      const auto multiply = [&](std::size_t k, typename S::Step w) QEFF_INLINE_LAMBDA {
#pragma GCC unroll 16
        for (int r = 0; r < kR; ++r)
          sums[r] = S::dot(sums[r], S::load_act(a + static_cast<std::size_t>(r) * a_stride + k), w);
      };
      if constexpr (kPacked) {
        multiply(i * 4, S::template step_of_line<0>(b + i * 64));
        if constexpr (S::kSteps == 2) multiply(i * 4 + 2, S::template step_of_line<1>(b + i * 64));
      } else {
        multiply(i * kActs, S::load_step(b + i * S::kStepBytes));
      }
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
