/// @file
/// The register tile of signed codes widened to words (16 bits), once a panel for many rows: for activations of 16
/// bits, and where a product of words takes fewer instructions than one of bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bodies/tile.inl.hpp"

namespace qeff::kernels {

/// See VectorTile.
template <class S>
struct WideTile {
  static constexpr std::size_t kDotRows = S::kRows, kPanels = S::kPanels, kLineBytes = 128;
  using Act = std::int16_t;

  /// Lines of a panel of signed bytes to the form int8 takes.
  static void widen(const std::byte* codes, std::size_t lines, std::byte* out) noexcept {
    for (std::size_t l = 0; l < lines; ++l) {
      S::store_words(out + l * kLineBytes, S::template widen<0>(codes + l * 64));
      S::store_words(out + l * kLineBytes + 64, S::template widen<1>(codes + l * 64));
    }
  }

  template <class Take>
  QEFF_INLINE static void int8(const Act* a, std::size_t a_stride, const std::byte* b, std::size_t b_pitch,
                               std::size_t panels, std::size_t lines, std::size_t rows, const Take& take) noexcept {
    by_tile<kDotRows, kPanels>(rows, panels, [&]<int kR, int kP>() QEFF_INLINE_LAMBDA {
      int8_rows<kR, kP>(a, a_stride, b, b_pitch, lines, take);
    });
  }

 private:
  template <int kR, int kP, class Take>
  static void int8_rows(const Act* a, std::size_t a_stride, const std::byte* b, std::size_t b_pitch, std::size_t lines,
                        const Take take) noexcept {
    typename S::I32 sums[kP][kR];
    for (auto& of_panel : sums)
      for (auto& s : of_panel) s = S::set1(std::int32_t{0});
    for (std::size_t k = 0; k < lines * 4; k += 2) {
      typename S::Words words[kP];
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) words[p] = S::load_words(b + static_cast<std::size_t>(p) * b_pitch + k * 32);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r)
#pragma GCC unroll 2
        for (int p = 0; p < kP; ++p)
          sums[p][r] = S::dot_words(sums[p][r], a + static_cast<std::size_t>(r) * a_stride + k, words[p]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 2
      for (int p = 0; p < kP; ++p) take(static_cast<std::size_t>(p), static_cast<std::size_t>(r), sums[p][r]);
  }
};

}  // namespace qeff::kernels
